package interop;

import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** What the provider offers: a method for each shape of a call that goes through the mesh. */
public interface Shop {
  /** `Hello <name>, response from <pod>/<address>`. */
  String sayHello(String name);

  /** The same order again, with its number one higher. */
  Order order(Order order);

  /** Whether the order names itself as the one that it replaces. */
  boolean replacesItself(Order order);

  List<Order> orders(List<Order> orders);

  Map<String, Object> map(Map<String, Object> map);

  Object any(Object value);

  List<Object> numbers(int i, long l, double d, float f, boolean b, byte y, short s, char c, Date date, Integer none, long[] many);

  /** What came, in words. */
  String simple(int i, long l, double d, boolean b, String text, int[] many, String[] words, Order order);

  String nothing();

  byte[] bytes(int count);

  String text(int count);

  byte[] upload(byte[] bytes);

  /** Throws ShopClosed (`checked`), ShopBroken (`own`) or IllegalStateException (anything else). */
  String fail(String how) throws ShopClosed;

  /** Kept for `notes`. */
  void note(String text);

  List<String> notes();

  /** `what`, after so many milliseconds. */
  CompletableFuture<String> later(String what, int delayMs);

  /** The attachments that came; `seen: yes` and `echo`, which is that of `lane`, go back. */
  Map<String, String> attachments();

  /** Sends a heartbeat to each connection and waits for the answers: how many, of how many. */
  List<Integer> beat() throws Exception;
}
