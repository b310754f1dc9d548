package org.apache.dubbo.samples.basic;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.apache.dubbo.config.ApplicationConfig;

/** What both programs need to be several on one machine, each at an address 127.N.a.b of its own. */
final class Local {
  /** Kept, or the level that was set would be lost with it. */
  private static final Logger ROOT = Logger.getLogger("");

  private Local() {}

  /** Logs what went wrong, and nothing else; ends within a second when it is told to. */
  static void quietly() {
    System.setProperty("dubbo.service.shutdown.wait", "1000");
    System.setProperty("dubbo.application.logger", "jdk");
    ROOT.setLevel(Level.SEVERE);
  }

  /**
   * The address as one number. Dubbo takes a host that begins with `127.` for "all interfaces" where it
   * listens, and for this machine's own address where it connects; the number it leaves as it is.
   */
  static String asOneNumber(String host) throws UnknownHostException {
    byte[] address = InetAddress.getByName(host).getAddress();
    return Integer.toUnsignedString(ByteBuffer.wrap(address).getInt());
  }

  /** Opens no port of its own: neither QoS nor the metadata service. */
  static ApplicationConfig application(String name) {
    ApplicationConfig application = new ApplicationConfig(name);
    application.setQosEnable(false);
    application.setRegisterMode("interface");
    application.setEnableFileCache(false);
    return application;
  }
}
