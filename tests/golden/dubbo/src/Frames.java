// Writes Dubbo frames as Apache Dubbo does, one JSON object a line, for frames.jsonl. See README.md.

import com.alibaba.com.caucho.hessian.io.Hessian2Input;
import com.alibaba.com.caucho.hessian.io.Hessian2Output;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.Serializable;
import java.lang.reflect.Proxy;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.dubbo.common.URL;
import org.apache.dubbo.common.Version;
import org.apache.dubbo.remoting.Channel;
import org.apache.dubbo.remoting.buffer.ChannelBuffer;
import org.apache.dubbo.remoting.buffer.ChannelBuffers;
import org.apache.dubbo.remoting.exchange.Request;
import org.apache.dubbo.remoting.exchange.Response;
import org.apache.dubbo.rpc.AppResponse;
import org.apache.dubbo.rpc.RpcInvocation;
import org.apache.dubbo.rpc.model.FrameworkModel;
import org.apache.dubbo.rpc.protocol.dubbo.DubboCodec;

public class Frames {
  static final String SERVICE = "org.apache.dubbo.samples.basic.api.DemoService";
  static final DubboCodec CODEC = new DubboCodec(FrameworkModel.defaultModel());
  static final String ORIGIN = "Apache Dubbo " + Version.getVersion() + ", DubboCodec";
  static final String RAW = "hessian-lite of Apache Dubbo " + Version.getVersion() + ", Hessian2Output";

  enum Colour { RED, GREEN }

  public static class Address implements Serializable {
    public String street = "Ermou";
    public int[] numbers = {1, 300, 70_000, Integer.MIN_VALUE};
    public Person lives;
  }

  public static class Person implements Serializable {
    public String name;
    public long born = 1_600_000_000_000L;
    public Date joined = new Date(1_700_000_000_123L);
    public double height = 1.75;
    public boolean alive = true;
    public byte[] picture = new byte[300];
    public List<Object> addresses = new ArrayList<>();
    public Map<Object, Object> more = new HashMap<>();
    public Colour colour = Colour.GREEN;
    public BigDecimal money = new BigDecimal("12.345");
    public Person twin;
  }

  public static class Empty implements Serializable {}

  static Channel channel() {
    URL url = URL.valueOf("dubbo://127.0.0.1:20880/" + SERVICE);
    return (Channel) Proxy.newProxyInstance(Frames.class.getClassLoader(), new Class<?>[] {Channel.class}, (p, m, a) ->
        m.getName().equals("getUrl") ? url : m.getReturnType() == boolean.class ? (Object) false : null);
  }

  static String hex(byte[] bytes) {
    StringBuilder text = new StringBuilder();
    for (byte b : bytes) text.append(String.format("%02x", b));
    return text.toString();
  }

  static String quoted(String text) {
    if (text == null) return "null";
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < 32 || c > 126 || c == '"' || c == '\\') out.append(String.format("\\u%04x", (int) c));
      else out.append(c);
    }
    return out.append('"').toString();
  }

  static void line(String name, String origin, String direction, String kind, int serialization, long id, String method,
      String path, String version, Map<String, ?> attributes, byte[] frame) {
    StringBuilder json = new StringBuilder("{");
    json.append("\"name\": ").append(quoted(name)).append(", \"origin\": ").append(quoted(origin));
    json.append(", \"direction\": ").append(quoted(direction)).append(", \"kind\": ").append(quoted(kind));
    json.append(", \"serialization\": ").append(serialization);
    json.append(", \"id\": ").append(quoted(Long.toUnsignedString(id))).append(", \"method\": ").append(quoted(method));
    json.append(", \"interface\": ").append(quoted(path)).append(", \"version\": ").append(quoted(version));
    json.append(", \"attributes\": {");
    boolean first = true;
    for (Map.Entry<String, ?> entry : new TreeMap<String, Object>(attributes).entrySet()) {
      if (!(entry.getValue() instanceof String value)) continue;
      json.append(first ? "" : ", ").append(quoted(entry.getKey())).append(": ").append(quoted(value));
      first = false;
    }
    System.out.println(json.append("}, \"hex\": \"").append(hex(frame)).append("\"}"));
  }

  static byte[] encoded(Object message) throws IOException {
    ChannelBuffer buffer = ChannelBuffers.dynamicBuffer(4096);
    CODEC.encode(channel(), buffer, message);
    byte[] bytes = new byte[buffer.readableBytes()];
    buffer.readBytes(bytes);
    return bytes;
  }

  static void call(String name, long id, boolean twoWay, String method, Class<?>[] types, Object[] args,
      Map<String, Object> attachments) throws IOException {
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("path", SERVICE);
    all.put("interface", SERVICE);
    all.put("version", "1.2.3");
    all.putAll(attachments);
    RpcInvocation invocation = new RpcInvocation(SERVICE + ":1.2.3", null, method, SERVICE, "", types, args, all, null, null, null);
    Request request = new Request(id);
    request.setVersion(Version.getProtocolVersion());
    request.setTwoWay(twoWay);
    request.setData(invocation);
    byte[] frame = encoded(request);
    line("dubbo-" + name, ORIGIN, "request", twoWay ? "call" : "oneway", 2, id, method, SERVICE, "1.2.3",
        invocation.getObjectAttachments(), frame);
  }

  static void reply(String name, long id, int status, Object value, Throwable thrown, String version, Map<String, String> attachments)
      throws IOException {
    Response response = new Response(id, version);
    response.setStatus((byte) status);
    if (status == Response.OK) {
      AppResponse result = thrown == null ? new AppResponse(value) : new AppResponse(thrown);
      result.setAttachments(attachments);
      response.setResult(result);
    } else {
      response.setErrorMessage("status " + status + ": nothing to see");
    }
    boolean fine = status == Response.OK && thrown == null;
    line("dubbo-reply-" + name, ORIGIN, "response", fine ? "reply" : "exception", 2, id, null, null, null,
        version == null ? Map.of() : attachments, encoded(response));
  }

  static void event(String name, Object message, String direction, String kind, long id) throws IOException {
    line("dubbo-event-" + name, ORIGIN, direction, kind, 2, id, null, null, null, Map.of(), encoded(message));
  }

  static void calls() throws IOException {
    Class<?>[] text = {String.class};
    call("sayHello", 1, true, "sayHello", text, new Object[] {"world"}, Map.of("group", "blue", "User", "Kiki"));
    call("null-argument", 2, true, "sayHello", text, new Object[] {null}, Map.of());
    call("no-arguments", 3, true, "ping", new Class<?>[0], new Object[0], Map.of("empty", ""));
    call("oneway", 4, false, "note", text, new Object[] {"x".repeat(31)}, Map.of());
    call("largest-id", Long.MAX_VALUE, true, "sayHello", text, new Object[] {"x".repeat(32)}, Map.of());
    call("negative-id", -5, true, "sayHello", text, new Object[] {"x".repeat(1024)}, Map.of());
    call("unicode", 7, true, "sayHello", text, new Object[] {"καλημέρα \ud83d\ude00 你好"}, Map.of("lane", "μελτέμι"));
    call("long-string", 8, true, "sayHello", text, new Object[] {"a".repeat(32_766) + "ä\ud83d\ude00".repeat(9)}, Map.of());
    call("long-bytes", 9, true, "upload", new Class<?>[] {byte[].class}, new Object[] {new byte[9_000]}, Map.of());
    Class<?>[] numbers = {int.class, long.class, double.class, boolean.class, short.class, byte.class, char.class, float.class,
        Integer.class, int[].class, String[][].class};
    call("numbers", 10, true, "numbers", numbers, new Object[] {1_000_000, 1L << 40, 2.5, true, (short) 3, (byte) 4, 'c',
        1.5f, null, new int[] {1, 2, 3, 4, 5, 6, 7, 8, 9}, new String[][] {{"a"}, {"b", null}}}, Map.of());
    Person one = new Person();
    one.name = "Kiki";
    one.twin = new Person();
    one.twin.name = "Koko";
    one.twin.twin = one;
    Address home = new Address();
    home.lives = one;
    one.addresses.addAll(List.of(home, home, new Empty(), 1, 2L, 3.5, Locale.CANADA, Colour.RED, "x"));
    one.more.put(Colour.RED, one.addresses);
    one.more.put("list", new ArrayList<>(Arrays.asList(null, new Date(60_000L * 1000), BigInteger.TEN.pow(30))));
    call("objects", 11, true, "marry", new Class<?>[] {Person.class, Person.class}, new Object[] {one, one.twin}, Map.of("group", "red"));
    call("map", 12, true, "map", new Class<?>[] {Map.class, List.class},
        new Object[] {new TreeMap<>(Map.of("a", 1, "b", new ArrayList<>(List.of(1, 2)))), Arrays.asList(1, "two", 3L, null)}, Map.of());
    call("generic", 13, true, "$invoke", new Class<?>[] {String.class, String[].class, Object[].class},
        new Object[] {"sayHello", new String[] {"java.lang.String"}, new Object[] {"world"}}, Map.of("generic", "true"));
    call("thrown", 14, true, "report", new Class<?>[] {Throwable.class}, new Object[] {new IllegalStateException("no")}, Map.of());
    Map<String, Object> rich = new LinkedHashMap<>();
    rich.put("a", "1");
    rich.put("person", one);
    rich.put("twin", one.twin);
    rich.put("number", 5);
    rich.put("list", new ArrayList<>(List.of("x", new Empty())));
    rich.put("none", null);
    rich.put("z", "26");
    call("rich-attachments", 15, true, "marry", new Class<?>[] {Person.class}, new Object[] {one}, rich);
    call("rich-attachments-alone", 16, true, "ping", new Class<?>[0], new Object[0], rich);
    call("long-attachment", 17, true, "ping", new Class<?>[0], new Object[0], Map.of("long", "v".repeat(1_100)));
  }

  static void replies() throws IOException {
    String modern = Version.getProtocolVersion();
    Map<String, String> some = Map.of("lane", "blue", "trace", "7");
    for (String version : new String[] {modern, null}) {
      String with = version == null ? "" : "-attachments";
      reply("value" + with, 21, 20, "hello", null, version, some);
      reply("number" + with, 22, 20, 5, null, version, some);
      reply("null" + with, 23, 20, null, null, version, some);
      reply("exception" + with, 24, 20, null, new IllegalArgumentException("no such name"), version, some);
      reply("object" + with, 25, 20, new Address(), null, version, some);
      reply("large" + with, 26, 20, new byte[9_000], null, version, some);
    }
    for (int status : new int[] {10, 20, 25, 30, 31, 35, 40, 50, 60, 70, 80, 90, 100}) {
      if (status != 20) reply("status-" + status, 30 + status, status, null, null, modern, Map.of());
    }
    for (String direction : new String[] {"request", "response"}) {
      Request beat = new Request(41);
      beat.setVersion(modern);
      beat.setTwoWay(true);
      beat.setEvent((String) null);
      event("heartbeat-" + direction, beat, direction, "heartbeat", 41);
      Response answer = new Response(42, modern);
      answer.setEvent((String) null);
      event("heartbeat-reply-" + direction, answer, direction, "heartbeat_reply", 42);
    }
    Request readonly = new Request(43);
    readonly.setVersion(modern);
    readonly.setTwoWay(false);
    readonly.setEvent("R");
    event("readonly", readonly, "response", "heartbeat_reply", 43);
  }

  /** A random value, in forms that writeObject never takes too; what it is named by goes on in `out`. */
  static void value(Hessian2Output out, Random random, int depth) throws IOException {
    int kind = random.nextInt(depth > 4 ? 11 : 18);
    int some = random.nextInt(4);
    switch (kind) {
      case 0 -> out.writeNull();
      case 1 -> out.writeBoolean(random.nextBoolean());
      case 2 -> out.writeInt(random.nextInt() >> random.nextInt(32));
      case 3 -> out.writeLong(random.nextLong() >> random.nextInt(64));
      case 4 -> out.writeDouble(switch (some) { case 0 -> 0; case 1 -> random.nextInt(400) - 200; case 2 -> random.nextInt(60_000) / 1000.0; default -> random.nextGaussian(); });
      case 5 -> out.writeUTCDate(random.nextBoolean() ? random.nextInt() * 60_000L : random.nextLong() >> 20);
      case 6 -> out.writeString(text(random, random.nextInt(1 << random.nextInt(12))));
      case 7 -> out.writeBytes(new byte[random.nextInt(1 << random.nextInt(13))]);
      case 8 -> out.writeObject(new Locale("el", "GR"));
      case 9 -> out.writeObject(Colour.values()[some % 2]);
      case 10 -> out.writeObject(some == 0 ? new Empty() : some == 1 ? new Address() : some == 2 ? new BigDecimal("1.5") : new int[some]);
      case 11, 12 -> {
        int count = random.nextInt(12);
        String type = random.nextBoolean() ? null : random.nextBoolean() ? "java.util.LinkedList" : "java.util.ArrayList";
        boolean open = random.nextBoolean();
        out.addRef(new Object()); // the reader numbers it
        out.writeListBegin(open ? -1 : count, type);
        for (int i = 0; i < count; i++) value(out, random, depth + 1);
        if (open) out.writeListEnd();
      }
      case 13, 14 -> {
        out.addRef(new Object());
        out.writeMapBegin(random.nextBoolean() ? null : random.nextBoolean() ? "java.util.LinkedHashMap" : "java.util.TreeMap");
        for (int i = random.nextInt(6); i > 0; i--) {
          out.writeString("k" + i);
          value(out, random, depth + 1);
        }
        out.writeMapEnd();
      }
      case 15, 16 -> {
        Person person = new Person();
        person.name = text(random, 5);
        person.picture = new byte[random.nextInt(20)];
        person.twin = random.nextBoolean() ? person : null;
        person.addresses.addAll(List.of(person, new Address(), some));
        out.writeObject(person);
      }
      default -> out.writeObject(new ArrayList<>(Arrays.asList("a", null, new HashMap<>(Map.of(1, 2L)))));
    }
  }

  static String text(Random random, int length) {
    String letters = random.nextBoolean() ? "abcdefgh" : "aβ你\u07ff\u0000zω\uffee";
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < length; i++) text.append(letters.charAt(random.nextInt(letters.length())));
    return random.nextInt(3) == 0 ? text + "\ud83d\ude00" : text.toString();
  }

  /** A frame of random values; false where Apache Dubbo's own reader cannot read them (it numbers some lists otherwise). */
  static boolean random(int seed) throws IOException {
    Random random = new Random(seed);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    Hessian2Output out = new Hessian2Output(bytes);
    int count = 1 + random.nextInt(4);
    for (String name : new String[] {"2.0.2", SERVICE, null, "method" + seed, "Ljava/lang/Object;".repeat(count)}) out.writeString(name);
    for (int i = 0; i < count; i++) value(out, random, 0);
    Map<String, Object> attachments = new LinkedHashMap<>();
    attachments.put("seed", "s" + seed);
    if (random.nextBoolean()) attachments.put("Number", random.nextLong());
    if (random.nextBoolean()) attachments.put("object", random.nextBoolean() ? new Empty() : new Address());
    if (random.nextBoolean()) attachments.put("lane", text(random, random.nextInt(40)));
    attachments.put("last", "yes");
    out.writeObject(new HashMap<>(attachments));
    out.flush();
    byte[] body = bytes.toByteArray();
    // The reader of Apache Dubbo finds the same.
    Hessian2Input in = new Hessian2Input(new ByteArrayInputStream(body));
    Map<?, ?> read;
    try {
      for (int i = 0; i < 5; i++) in.readString();
      for (int i = 0; i < count; i++) in.readObject();
      read = (Map<?, ?>) in.readObject();
    } catch (IOException | RuntimeException unreadable) {
      return false;
    }
    for (String name : new String[] {"seed", "lane", "last"}) {
      if (!java.util.Objects.equals(read.get(name), attachments.get(name))) throw new IllegalStateException("seed " + seed + " " + name);
    }
    ByteArrayOutputStream frame = new ByteArrayOutputStream();
    java.io.DataOutputStream header = new java.io.DataOutputStream(frame);
    header.writeShort(0xdabb);
    header.write(new byte[] {(byte) 0xc2, 0});
    header.writeLong(seed);
    header.writeInt(body.length);
    header.write(body);
    line("random-" + seed, RAW, "request", "call", 2, seed, "method" + seed, SERVICE, null, attachments, frame.toByteArray());
    return true;
  }

  public static void main(String[] words) throws IOException {
    System.setOut(new java.io.PrintStream(new java.io.FileOutputStream(words[0]), true, StandardCharsets.UTF_8));
    calls();
    replies();
    int kept = 0;
    for (int seed = 0; kept < 200; seed++) kept += random(seed) ? 1 : 0;
    System.exit(0);
  }
}
