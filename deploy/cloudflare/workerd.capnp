# The Worker outside Cloudflare, in its open-source runtime: how the tests run it, and a way to host it oneself.
#   ORIGIN=… npx workerd serve workerd.capnp --socket-addr http=127.0.0.1:8080
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "edge", worker = .edge),
    (name = "internet", network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:8080", http = (), service = "edge")],
);

const edge :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "aws4fetch", esModule = embed "node_modules/aws4fetch/dist/aws4fetch.esm.mjs"),
  ],
  bindings = [
    (name = "ORIGIN", fromEnvironment = "ORIGIN"),
    (name = "ACCESS_KEY_ID", fromEnvironment = "ACCESS_KEY_ID"),
    (name = "SECRET_ACCESS_KEY", fromEnvironment = "SECRET_ACCESS_KEY"),
    (name = "REGION", fromEnvironment = "REGION"),
  ],
  compatibilityDate = "2026-11-01",
);
