"""What README.md and docs/ show is true: links, commands, examples, and the site itself."""
