// A unary echo on gRPC's C++ server: server [MAX_CONNECTION_AGE_MS [MAX_CONCURRENT_STREAMS]].
// It prints its port, and serves until it is ended by a signal. 0 or nothing: no limit.
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <iostream>

#include "echo.grpc.pb.h"

using servebench::echo::Echo;
using servebench::echo::Payload;

class Service final : public Echo::Service {
  grpc::Status Call(grpc::ServerContext*, const Payload* request, Payload* reply) override {
    reply->set_content(request->content());
    return grpc::Status::OK;
  }
};

int main(int count, char** values) {
  const int age = count > 1 ? std::atoi(values[1]) : 0;
  const int streams = count > 2 ? std::atoi(values[2]) : 0;
  Service service;
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
