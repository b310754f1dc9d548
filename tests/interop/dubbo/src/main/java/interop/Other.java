package interop;

/** A service that no provider offers. */
public interface Other {
  String sayHello(String name);
}
