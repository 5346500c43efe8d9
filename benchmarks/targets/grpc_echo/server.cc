// A unary echo on gRPC's C++ server:
// server [MAX_CONNECTION_AGE_MS [MAX_CONCURRENT_STREAMS [MOST_BYTES_OF_AN_ANSWER]]].
// It prints its port, and serves until it is ended by a signal. 0 or nothing: no limit.
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <iostream>

#include "echo.grpc.pb.h"

using servebench::echo::Echo;
using servebench::echo::Payload;

class Service final : public Echo::Service {
 public:
  explicit Service(int most) : most(most) {}

 private:
  const int most;

  grpc::Status Call(grpc::ServerContext*, const Payload* request, Payload* reply) override {
    reply->set_content(most > 0 ? request->content().substr(0, most) : request->content());
    return grpc::Status::OK;
  }
};

int main(int count, char** values) {
  const int age = count > 1 ? std::atoi(values[1]) : 0;
  const int streams = count > 2 ? std::atoi(values[2]) : 0;
  Service service(count > 3 ? std::atoi(values[3]) : 0);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  if (age > 0) builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, age);
  if (streams > 0) builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, streams);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << port << std::endl;
  server->Wait();
}
