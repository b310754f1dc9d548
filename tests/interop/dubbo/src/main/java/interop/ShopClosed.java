package interop;

/** Named by `Shop.fail`. */
public class ShopClosed extends Exception {
  private final int code;

  public ShopClosed(String message, int code) {
    super(message);
    this.code = code;
  }

  public int getCode() {
    return code;
  }
}
