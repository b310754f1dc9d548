package interop;

import com.alibaba.com.caucho.hessian.io.Hessian2Input;
import com.alibaba.com.caucho.hessian.io.Hessian2Output;
import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.Serializable;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Calendar;
import java.util.Collections;
import java.util.Date;
import java.util.EnumSet;
import java.util.GregorianCalendar;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.LinkedList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.UUID;

/**
 * Prints random hessian2 bodies as hessian-lite writes them: `SEED ENDS HEX`, one a line, where ENDS are the places at
 * which its full reader ended after each value. Arguments: the first seed, and how many.
 *
 * Most values go through writeObject; the rest are in forms that it never takes and that the reader takes. A seed whose
 * bytes the reader does not read (it numbers some lists otherwise than the writer) is printed as `SEED -`.
 */
public class Values {
  private static final int MOST_BYTES = 300_000;

  enum Colour { RED, GREEN { @Override public String toString() { return "green"; } } }

  public static class Base implements Serializable {
    public int number;
    public Object any;
  }

  public static class Derived extends Base {
    public String name;
    public Derived next;
    public List<Object> list = new ArrayList<>();
    public Map<Object, Object> map = new HashMap<>();
    public byte[] bytes;
    public char[] chars;
    public double[] doubles;
    public Colour colour;
  }

  public static class Empty implements Serializable {}

  public static class Wide implements Serializable {
    public long a0, a1, a2, a3, a4, a5, a6, a7, a8, a9;
    public Long b0, b1, b2, b3, b4;
    public short c0;
    public float d0;
    public Date e0;
    public Boolean f0;
  }

  private final Random random;
  private final List<Object> made = new ArrayList<>();

  private Values(int seed) {
    random = new Random(seed);
  }

  /** An object, or one that was made before. */
  private Object object(int depth) {
    if (!made.isEmpty() && random.nextInt(6) == 0) return made.get(random.nextInt(made.size()));
    Object object = fresh(depth);
    if (object != null) made.add(object);
    return object;
  }

  private Object fresh(int depth) {
    int kind = random.nextInt(depth > 4 ? 16 : 30);
    int some = random.nextInt(5);
    return switch (kind) {
      case 0 -> null;
      case 1 -> random.nextBoolean();
      case 2 -> random.nextInt() >> random.nextInt(32);
      case 3 -> random.nextLong() >> random.nextInt(64);
      case 4 -> number();
      case 5 -> new Date(random.nextBoolean() ? random.nextInt() * 60_000L : random.nextLong() >> 20);
      case 6, 7 -> text(random.nextInt(1 << random.nextInt(random.nextInt(60) == 0 ? 18 : 11)));
      case 8 -> bytes(random.nextInt(1 << random.nextInt(random.nextInt(40) == 0 ? 17 : 10)));
      case 9 -> Colour.values()[some % 2];
      case 10 -> new BigDecimal(BigInteger.valueOf(random.nextLong()), some);
      case 11 -> new BigInteger(some * 40, random);
      case 12 -> some == 0 ? new Locale("el", "GR") : some == 1 ? UUID.nameUUIDFromBytes(bytes(4)) : some == 2 ? Colour.class : new StringBuilder(text(3)).toString();
      case 13 -> some == 0 ? LocalDate.ofEpochDay(random.nextInt(40_000)) : some == 1 ? Instant.ofEpochSecond(random.nextInt(), 5) : some == 2 ? Duration.ofSeconds(random.nextLong() >> 20) : some == 3 ? ZonedDateTime.parse("2026-11-22T01:02:03+02:00[Europe/Athens]") : calendar();
      case 14 -> some == 0 ? new int[] {1, random.nextInt()} : some == 1 ? new long[random.nextInt(20)] : some == 2 ? new String[] {"a", null, text(4)} : some == 3 ? new boolean[3] : new short[9];
      case 15 -> some == 0 ? BitSet.valueOf(bytes(3)) : some == 1 ? EnumSet.allOf(Colour.class) : some == 2 ? new Empty() : new Wide();
      case 16, 17, 18 -> list(depth, some);
      case 19, 20 -> map(depth, some);
      case 21, 22, 23 -> derived(depth);
      case 24 -> base(depth);
      case 25 -> failure(some);
      case 26 -> new Object[] {object(depth + 1), object(depth + 1)};
      case 27 -> new int[][] {{1, 2}, {}, {random.nextInt()}};
      case 28 -> Collections.nCopies(some, text(2));
      default -> new LinkedHashSet<>(Arrays.asList(text(3), 5, null));
    };
  }

  private Object number() {
    return switch (random.nextInt(6)) {
      case 0 -> 0.0;
      case 1 -> 1.0;
      case 2 -> (double) (random.nextInt(400) - 200);
      case 3 -> (double) (random.nextInt(80_000) - 40_000);
      case 4 -> random.nextInt() / 1000.0;
      default -> random.nextBoolean() ? Double.longBitsToDouble(random.nextLong()) : (Object) random.nextFloat();
    };
  }

  private Calendar calendar() {
    Calendar calendar = new GregorianCalendar();
    calendar.setTimeInMillis(random.nextInt() * 1000L);
    return calendar;
  }

  private Object list(int depth, int some) {
    List<Object> list = some == 0 ? new LinkedList<>() : new ArrayList<>();
    made.add(list); // so that it may hold itself
    for (int i = random.nextInt(random.nextInt(20) == 0 ? 300 : 9); i > 0; i--) list.add(i > 12 ? (Object) i : object(depth + 1));
    return list;
  }

  private Object map(int depth, int some) {
    Map<Object, Object> map = some == 0 ? new TreeMap<>() : some == 1 ? new LinkedHashMap<>() : new HashMap<>();
    made.add(map);
    for (int i = random.nextInt(7); i > 0; i--) map.put(some > 2 && i % 2 == 0 ? (Object) i : text(4) + i, object(depth + 1));
    return map;
  }

  private Object derived(int depth) {
    Derived derived = new Derived();
    made.add(derived);
    derived.number = random.nextInt();
    derived.any = object(depth + 1);
    derived.name = text(5);
    derived.next = random.nextBoolean() ? derived : depth < 3 ? (Derived) derived(depth + 1) : null;
    derived.list.add(object(depth + 1));
    derived.map.put(derived.name, object(depth + 1));
    derived.bytes = bytes(random.nextInt(20));
    derived.chars = text(3).toCharArray();
    derived.doubles = new double[] {1.5, random.nextGaussian()};
    derived.colour = Colour.values()[random.nextInt(2)];
    return derived;
  }

  private Object base(int depth) {
    Base base = new Base();
    made.add(base);
    base.any = object(depth + 1);
    return base;
  }

  private Object failure(int some) {
    IllegalStateException failure = new IllegalStateException(text(9), some == 0 ? null : new IOException("cause"));
    failure.setStackTrace(Arrays.copyOf(failure.getStackTrace(), Math.min(some, failure.getStackTrace().length)));
    return failure;
  }

  private byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    random.nextBytes(bytes);
    return bytes;
  }

  private String text(int length) {
    String letters = random.nextBoolean() ? "abcdefghRSNZ" : "aβ你\u07ff\u0000zω\uffee\u007f\u0080";
    StringBuilder text = new StringBuilder();
    boolean planes = random.nextInt(3) == 0;
    while (text.length() < length) text.append(planes && random.nextInt(9) == 0 ? "\ud83d\ude00" : letters.charAt(random.nextInt(letters.length())));
    return text.toString();
  }

  /** A value in a form that writeObject may never take. */
  private void raw(Hessian2Output out, int depth) throws IOException {
    int kind = random.nextInt(depth > 3 ? 6 : 9);
    int count = random.nextInt(random.nextInt(10) == 0 ? 40 : 12);
    String type = random.nextBoolean() ? null : random.nextBoolean() ? "java.util.LinkedList" : "java.util.ArrayList";
    switch (kind) {
      case 0 -> out.writeNull();
      case 1 -> out.writeInt(random.nextInt() >> random.nextInt(32));
      case 2 -> out.writeUTCDate(random.nextInt() * 60_000L);
      case 3 -> out.writeString(text(count * 50));
      case 4 -> out.writeBytes(bytes(count * 100));
      case 5 -> out.writeObject(fresh(9));
      case 6 -> {
        boolean open = random.nextBoolean();
        out.addRef(new Object()); // the reader numbers it
        out.writeListBegin(open ? -1 : count, type);
        for (int i = 0; i < count; i++) raw(out, depth + 1);
        if (open) out.writeListEnd();
      }
      default -> {
        out.addRef(new Object());
        out.writeMapBegin(random.nextBoolean() ? null : random.nextBoolean() ? "java.util.LinkedHashMap" : "java.util.TreeMap");
        for (int i = count % 6; i > 0; i--) {
          out.writeString("k" + i);
          raw(out, depth + 1);
        }
        out.writeMapEnd();
      }
    }
  }

  /** Gives one byte a call, so that a reader has taken what it has read and no more. */
  private static class ByteByByte extends ByteArrayInputStream {
    ByteByByte(byte[] bytes) {
      super(bytes);
    }

    @Override
    public int read(byte[] into, int offset, int length) {
      return super.read(into, offset, Math.min(length, 1));
    }

    int at() {
      return pos;
    }
  }

  private static void print(PrintStream to, int seed) throws IOException {
    Values values = new Values(seed);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    Hessian2Output out = new Hessian2Output(bytes);
    int count = 1 + values.random.nextInt(4);
    boolean forms = values.random.nextInt(3) == 0;
    for (int i = 0; i < count; i++) {
      if (forms) values.raw(out, 0);
      else out.writeObject(values.object(0));
    }
    out.flush();
    StringBuilder ends = new StringBuilder();
    ByteByByte from = new ByteByByte(bytes.toByteArray());
    Hessian2Input in = new Hessian2Input(from);
    try {
      for (int i = 0; i < count; i++) {
        in.readObject();
        ends.append(i > 0 ? "," : "").append(from.at());
      }
    } catch (IOException | RuntimeException | StackOverflowError unreadable) {
      if (System.getenv("WHY") != null) unreadable.printStackTrace();
      to.println(seed + " -");
      return;
    }
    if (from.at() != bytes.size()) throw new IllegalStateException("seed " + seed + ": read " + from.at() + " of " + bytes.size());
    to.println(bytes.size() > MOST_BYTES ? seed + " -" : seed + " " + ends + " " + HexFormat.of().formatHex(bytes.toByteArray()));
  }

  public static void main(String[] words) throws IOException {
    int first = Integer.parseInt(words[0]);
    PrintStream to = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
    for (int seed = first; seed < first + Integer.parseInt(words[1]); seed++) print(to, seed);
    to.flush();
    System.exit(0);
  }
}
