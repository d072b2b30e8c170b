#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>

#include "http/allowed_names.h"
#include "http/server.h"

namespace gavel {

class HttpConnection;

/** What the connections of a server share. Used on the server's thread alone. */
struct HttpServerState {
  HttpServerState(HttpHandler& given_handler, HttpServerOptions given);

  /** Closes the connection that has waited longest for its client (`receiving`: of those that receive a body); false where none
   * waits. */
  bool close_the_slowest(bool receiving = false);
  void drain();

  HttpHandler& handler;
  HttpServerOptions options;
  AllowedNames names;
  std::list<HttpConnection*> open;
  /** Those that wait for their clients, the longest wait first. */
  std::list<HttpConnection*> waiting;
  /** Bytes of bodies that are being received. */
  size_t buffered = 0;
  bool draining = false;
  /** For HttpHead::id: what tells this server from others, and the requests so far. */
  std::string name;
  uint64_t requests = 0;
  int port = 0;
  // Behind what connections use: it holds them, and ends with them.
  boost::asio::io_context io{1};
  boost::asio::ip::tcp::acceptor acceptor{io};
  boost::asio::steady_timer grace{io};
};

}  // namespace gavel
