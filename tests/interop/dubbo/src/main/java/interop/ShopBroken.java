package interop;

/** Not named by any method. */
public class ShopBroken extends RuntimeException {
  public ShopBroken(String message, Throwable cause) {
    super(message, cause);
  }
}
