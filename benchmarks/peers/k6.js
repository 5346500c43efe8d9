// k6: arrivals at a constant rate, whatever the server does.
import http from "k6/http";

const body = open(__ENV.BODY);
const parameters = { headers: { "Content-Type": "application/json" } };
const connections = parseInt(__ENV.CONNECTIONS);

export const options = {
  discardResponseBodies: true,
  scenarios: {
    load: {
      executor: "constant-arrival-rate",
      rate: parseInt(__ENV.RATE),
      timeUnit: "1s",
      duration: `${__ENV.MILLISECONDS}ms`,
      preAllocatedVUs: connections,
      maxVUs: connections,
      gracefulStop: "3s",
    },
  },
};

export default function () {
  http.post(__ENV.URL, body, parameters);
}
