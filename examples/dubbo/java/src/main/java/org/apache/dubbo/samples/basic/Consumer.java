package org.apache.dubbo.samples.basic;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import org.apache.dubbo.common.Version;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.samples.basic.api.DemoService;

/**
 * Calls DemoService over one connection when it is asked to by HTTP, at HOST:PORT: `/hello` and `/bye`
 * (`?name=…&count=…`: so many calls, a line each), `/attachments`, and `/`, which says what this is.
 */
public final class Consumer {
  private static final String SERVICE = "ORG_APACHE_DUBBO_SAMPLES_BASIC_API_DEMOSERVICE_SERVICE_";

  private final DemoService service;
  private final String about;

  private Consumer(DemoService service, String about) {
    this.service = service;
    this.about = about;
  }

  public static void main(String[] arguments) throws Exception {
    Local.quietly();
    String host = System.getenv(SERVICE + "HOST");
    String port = System.getenv(SERVICE + "PORT");
    ReferenceConfig<DemoService> reference = new ReferenceConfig<>();
    reference.setInterface(DemoService.class);
    reference.setUrl("dubbo://" + Local.asOneNumber(host) + ":" + port + "?serialization=hessian2");
    reference.setTimeout(5_000);
    reference.setRetries(0);
    reference.setCheck(false);
    reference.setLazy(true);
    DubboBootstrap.getInstance()
        .application(Local.application("dubbo-sample-consumer"))
        .registry(new RegistryConfig("N/A"))
        .reference(reference)
        .start();
    String about =
        "Apache Dubbo " + Version.getVersion() + " (Java): calling " + host + ":" + port;
    new Consumer(reference.get(), about).serve();
    System.out.println(about);
  }

  private void serve() throws IOException {
    InetSocketAddress address =
        new InetSocketAddress(System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
    HttpServer server = HttpServer.create(address, 0);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/hello", exchange -> answer(exchange, 200, calls(exchange, service::sayHello)));
    server.createContext("/bye", exchange -> answer(exchange, 200, calls(exchange, service::sayBye)));
    server.createContext("/attachments", exchange -> answer(exchange, 200, attachments()));
    server.createContext("/", this::rest);
    server.start();
  }

  private void rest(HttpExchange exchange) throws IOException {
    boolean here = exchange.getRequestURI().getPath().equals("/");
    answer(exchange, here ? 200 : 404, here ? about : "there are /hello, /bye and /attachments");
  }

  private String calls(HttpExchange exchange, UnaryOperator<String> method) {
    Map<String, String> query = query(exchange.getRequestURI().getRawQuery());
    StringBuilder lines = new StringBuilder();
    for (int left = count(query.get("count")); left > 0; left--) {
      String line = call(method, query.getOrDefault("name", "Meltemi"));
      System.out.println(line);
      lines.append(line).append('\n');
    }
    return lines.toString();
  }

  private static String call(UnaryOperator<String> method, String name) {
    try {
      return method.apply(name);
    } catch (RpcException error) {
      return refused(error);
    }
  }

  private String attachments() {
    try {
      return new TreeMap<>(service.attachments())
          .entrySet().stream()
              .map(entry -> entry.getKey() + ": " + entry.getValue())
              .collect(Collectors.joining("\n"));
    } catch (RpcException error) {
      return refused(error);
    }
  }

  private static String refused(RpcException error) {
    Throwable cause = error;
    while (cause.getCause() != null && cause.getCause() != cause) {
      cause = cause.getCause();
    }
    return "refused: " + String.valueOf(cause.getMessage()).lines().findFirst().orElse("");
  }

  private static int count(String given) {
    return given != null && given.matches("[0-9]{1,5}") ? Integer.parseInt(given) : 1;
  }

  private static Map<String, String> query(String given) {
    Map<String, String> found = new HashMap<>();
    for (String pair : given == null ? new String[0] : given.split("&")) {
      int equals = pair.indexOf('=');
      if (equals > 0) {
        String value = URLDecoder.decode(pair.substring(equals + 1), StandardCharsets.UTF_8);
        found.put(pair.substring(0, equals), value);
      }
    }
    return found;
  }

  private static void answer(HttpExchange exchange, int status, String text) throws IOException {
    byte[] body = (text.endsWith("\n") ? text : text + "\n").getBytes(StandardCharsets.UTF_8);
    exchange.getResponseHeaders().set("Content-Type", "text/plain; charset=utf-8");
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }
}
