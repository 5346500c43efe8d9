// A unary service on gRPC's C++ server:
// server COUNTER ANSWER_BYTES MAX_CONNECTION_AGE_MS MAX_CONCURRENT_STREAMS; 0: echo, or no limit.
// It prints its port, counts calls in the first eight bytes of the file COUNTER, and serves until a
// signal ends it.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include "echo.grpc.pb.h"

using servebench::echo::Echo;
using servebench::echo::Payload;

class Service final : public Echo::CallbackService {
 public:
  Service(std::atomic<std::uint64_t>* calls, std::size_t answer) : calls_(calls), answer_(answer, 'a') {}

 private:
  grpc::ServerUnaryReactor* Call(grpc::CallbackServerContext* context, const Payload* request,
                                 Payload* reply) override {
    calls_->fetch_add(1, std::memory_order_relaxed);
    reply->set_content(answer_.empty() ? request->content() : answer_);
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  std::atomic<std::uint64_t>* calls_;
  const std::string answer_;
};

int main(int count, char** values) {
  if (count != 5) return 2;
  const int file = open(values[1], O_RDWR);
  void* page = mmap(nullptr, sizeof(std::uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || page == MAP_FAILED) return 2;
  Service service(static_cast<std::atomic<std::uint64_t>*>(page), std::atoi(values[2]));
  const int age = std::atoi(values[3]);
  const int streams = std::atoi(values[4]);
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
