"use strict";
(() => {
  let theme = null;
  try { theme = localStorage.getItem("servebench-theme"); } catch { /* not allowed: the system's */ }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();
