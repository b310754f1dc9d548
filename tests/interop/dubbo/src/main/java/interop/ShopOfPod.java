package interop;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.common.Version;
import org.apache.dubbo.remoting.Channel;
import org.apache.dubbo.remoting.exchange.Request;
import org.apache.dubbo.remoting.exchange.support.header.HeartbeatHandler;
import org.apache.dubbo.rpc.ProtocolServer;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.model.FrameworkModel;
import org.apache.dubbo.rpc.protocol.dubbo.DubboProtocol;

/** The shop of one replica. */
class ShopOfPod implements Shop {
  private static final long ANSWERED_WITHIN_MS = 5_000;
  private final List<String> notes = new CopyOnWriteArrayList<>();
  private final String me = System.getenv("POD_NAME") + "/" + System.getenv("INSTANCE_IP");

  public String sayHello(String name) {
    return "Hello " + name + ", response from " + me;
  }

  public Order order(Order order) {
    order.number++;
    return order;
  }

  public boolean replacesItself(Order order) {
    return order.replaces == order;
  }

  public List<Order> orders(List<Order> orders) {
    return orders;
  }

  public Map<String, Object> map(Map<String, Object> map) {
    return map;
  }

  public Object any(Object value) {
    return value;
  }

  public List<Object> numbers(int i, long l, double d, float f, boolean b, byte y, short s, char c, Date date, Integer none, long[] many) {
    return new ArrayList<>(Arrays.asList(i, l, d, (double) f, b, (int) y, (int) s, "" + c, date.getTime(), none, many));
  }

  public String simple(int i, long l, double d, boolean b, String text, int[] many, String[] words, Order order) {
    List<Object> came = Arrays.asList(i, l, d, b, text, Arrays.toString(many), Arrays.toString(words), order.number, order.customer);
    return came.toString();
  }

  public String nothing() {
    return null;
  }

  public byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    for (int i = 0; i < count; i++) bytes[i] = (byte) (i * 31);
    return bytes;
  }

  public String text(int count) {
    return "aé你".repeat(count / 3);
  }

  public byte[] upload(byte[] bytes) {
    return bytes;
  }

  public String fail(String how) throws ShopClosed {
    switch (how) {
      case "checked" -> throw new ShopClosed("closed on Sundays", 7);
      case "own" -> throw new ShopBroken("broken", new IllegalArgumentException("the cause"));
      default -> throw new IllegalStateException("no such state: " + how);
    }
  }

  public void note(String text) {
    notes.add(text);
  }

  public List<String> notes() {
    return new ArrayList<>(notes);
  }

  public CompletableFuture<String> later(String what, int delayMs) {
    Executor after = CompletableFuture.delayedExecutor(delayMs, TimeUnit.MILLISECONDS);
    return CompletableFuture.supplyAsync(() -> what, after);
  }

  public Map<String, String> attachments() {
    Map<String, String> came = new TreeMap<>();
    RpcContext.getServerAttachment().getObjectAttachments().forEach((name, value) -> came.put(name, String.valueOf(value)));
    RpcContext.getServerResponseContext().setAttachment("seen", "yes");
    if (came.containsKey("lane")) RpcContext.getServerResponseContext().setAttachment("echo", came.get("lane"));
    return came;
  }

  public List<Integer> beat() throws Exception {
    int answered = 0;
    List<Channel> channels = new ArrayList<>();
    for (ProtocolServer server : DubboProtocol.getDubboProtocol(FrameworkModel.defaultModel()).getServers()) {
      Collection<Channel> some = server.getRemotingServer().getChannels();
      channels.addAll(some);
    }
    for (Channel channel : channels) {
      Object before = channel.getAttribute(HeartbeatHandler.KEY_READ_TIMESTAMP);
      Thread.sleep(2); // the stamps are in milliseconds
      Request beat = new Request();
      beat.setVersion(Version.getProtocolVersion());
      beat.setTwoWay(true);
      beat.setEvent((String) null);
      channel.send(beat);
      long end = System.currentTimeMillis() + ANSWERED_WITHIN_MS;
      while (before.equals(channel.getAttribute(HeartbeatHandler.KEY_READ_TIMESTAMP)) && System.currentTimeMillis() < end) Thread.sleep(5);
      if (!before.equals(channel.getAttribute(HeartbeatHandler.KEY_READ_TIMESTAMP))) answered++;
    }
    return new ArrayList<>(List.of(answered, channels.size()));
  }
}
