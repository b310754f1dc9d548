package interop;

import com.alibaba.fastjson2.JSON;
import com.alibaba.fastjson2.JSONArray;
import com.alibaba.fastjson2.JSONObject;
import com.alibaba.fastjson2.JSONWriter;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Type;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.service.GenericService;

/**
 * Calls as it is told, on HOST:PORT: POST / with
 * `{"url", "service", "version", "method", "args", "attachments", "generic"}`, each argument as the text of its JSON.
 * The answer is what came back: `{"value", "type", "attachments", "ms"}`, or `{"error", "message", ...}`.
 */
public class Consumer {
  private static final Map<String, Object> REFERENCES = new ConcurrentHashMap<>();

  public static void main(String[] words) throws IOException {
    DubboBootstrap.getInstance().application(Provider.application("consumer")).registry(new RegistryConfig("N/A")).start();
    InetSocketAddress at = new InetSocketAddress(System.getenv("HOST"), Integer.parseInt(System.getenv("PORT")));
    HttpServer server = HttpServer.create(at, 64);
    server.createContext("/", Consumer::answer);
    server.setExecutor(Executors.newCachedThreadPool());
    server.start();
    System.out.println("consumer is ready");
  }

  private static void answer(HttpExchange exchange) throws IOException {
    Object answer;
    try {
      JSONObject asked = JSON.parseObject(exchange.getRequestBody().readAllBytes());
      answer = asked.containsKey("later") ? together(asked) : one(asked);
    } catch (Throwable wrong) {
      answer = error(wrong);
    }
    byte[] body = JSON.toJSONString(answer, "millis", JSONWriter.Feature.ReferenceDetection, JSONWriter.Feature.WriteNulls)
        .getBytes(StandardCharsets.UTF_8);
    exchange.sendResponseHeaders(200, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }

  /** The service of a url, made once. */
  private static Object reference(JSONObject asked, Class<?> type) {
    String version = asked.getString("version");
    boolean generic = asked.getBooleanValue("generic");
    return REFERENCES.computeIfAbsent(asked.getString("url") + type + version + generic, key -> {
      ReferenceConfig<Object> reference = new ReferenceConfig<>();
      reference.setInterface(type);
      reference.setUrl(asked.getString("url"));
      reference.setVersion(version);
      reference.setRetries(0);
      reference.setCheck(false);
      if (generic) reference.setGeneric("true");
      return reference.get();
    });
  }

  private static Object one(JSONObject asked) throws Exception {
    Class<?> type = Class.forName(asked.getString("service"));
    Object target = reference(asked, type);
    Method method = null;
    for (Method other : type.getMethods()) if (other.getName().equals(asked.getString("method"))) method = other;
    JSONArray given = asked.getJSONArray("args");
    Type[] types = method.getGenericParameterTypes();
    Object[] arguments = new Object[types.length];
    JSONObject attachments = asked.getJSONObject("attachments");
    if (attachments != null) attachments.forEach((name, value) -> RpcContext.getClientAttachment().setAttachment(name, (String) value));
    long began = System.nanoTime();
    Object value;
    try {
      if (asked.getBooleanValue("generic")) {
        String[] names = new String[types.length];
        for (int i = 0; i < types.length; i++) names[i] = method.getParameterTypes()[i].getName();
        for (int i = 0; i < types.length; i++) arguments[i] = JSON.parse(given.getString(i));
        value = ((GenericService) target).$invoke(method.getName(), names, arguments);
      } else {
        for (int i = 0; i < types.length; i++) arguments[i] = JSON.parseObject(given.getString(i), types[i]);
        value = method.invoke(target, arguments);
      }
      if (value instanceof CompletableFuture<?> future) value = future.get();
    } catch (InvocationTargetException | ExecutionException wrapped) {
      return timed(error(wrapped.getCause()), began);
    } catch (RuntimeException wrong) {
      return timed(error(wrong), began);
    }
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("value", value instanceof byte[] bytes ? Map.of("length", bytes.length, "hash", java.util.Arrays.hashCode(bytes)) : value);
    answer.put("type", value == null ? null : value.getClass().getName());
    answer.put("attachments", RpcContext.getClientResponseContext().getObjectAttachments());
    return timed(answer, began);
  }

  /** Calls `later` with each `[what, delay]` at once: what came, in the order in which it came. */
  private static Object together(JSONObject asked) throws Exception {
    Shop shop = (Shop) reference(asked, Shop.class);
    JSONArray calls = asked.getJSONArray("later");
    JSONArray came = new JSONArray();
    CompletableFuture<?>[] waiting = new CompletableFuture<?>[calls.size()];
    long began = System.nanoTime();
    for (int i = 0; i < waiting.length; i++) {
      String what = calls.getJSONArray(i).getString(0);
      waiting[i] = shop.later(what, calls.getJSONArray(i).getIntValue(1)).thenAccept(value -> {
        synchronized (came) {
          came.add(new JSONArray(what, value));
        }
      });
    }
    CompletableFuture.allOf(waiting).get();
    return timed(new LinkedHashMap<>(Map.of("value", came)), began);
  }

  private static Map<String, Object> timed(Map<String, Object> answer, long began) {
    answer.put("ms", (System.nanoTime() - began) / 1_000_000);
    return answer;
  }

  private static Map<String, Object> error(Throwable wrong) {
    Map<String, Object> answer = new LinkedHashMap<>();
    answer.put("error", wrong.getClass().getName());
    answer.put("message", String.valueOf(wrong.getMessage()));
    answer.put("cause", wrong.getCause() == null ? null : wrong.getCause().getClass().getName());
    if (wrong instanceof RpcException rpc) answer.put("timeout", rpc.isTimeout());
    if (wrong instanceof ShopClosed closed) answer.put("code", closed.getCode());
    return answer;
  }
}
