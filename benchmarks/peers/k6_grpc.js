// k6 over gRPC: arrivals at a constant rate, whatever the server does.
import encoding from "k6/encoding";
import grpc from "k6/net/grpc";

// Its messages are JSON, in which bytes are in base64.
const message = { content: encoding.b64encode(open(__ENV.BODY, "b")) };
const connections = parseInt(__ENV.CONNECTIONS);
const client = new grpc.Client();
client.load([__ENV.PROTOS], "echo.proto");

export const options = {
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
  if (__ITER == 0) client.connect(__ENV.ADDRESS, { plaintext: true });
  client.invoke(__ENV.METHOD, message, { discardResponseMessage: true });
}
