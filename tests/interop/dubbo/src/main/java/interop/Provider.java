package interop;

import java.util.List;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/** Offers `Shop` on HOST:PORT, in version 1.0.0 by hessian2 and in version `fast` by fastjson2. */
public class Provider {
  public static void main(String[] words) {
    Shop shop = new ShopOfPod();
    DubboBootstrap.getInstance()
        .application(application("shop"))
        .registry(new RegistryConfig("N/A"))
        .services(List.of(service(shop, "1.0.0", "hessian2"), service(shop, "fast", "fastjson2")))
        .start()
        .await();
  }

  static ApplicationConfig application(String name) {
    ApplicationConfig application = new ApplicationConfig(name);
    application.setQosEnable(false);
    application.setRegisterMode("interface"); // no service of its own about what it offers
    return application;
  }

  private static ServiceConfig<?> service(Shop shop, String version, String serialization) {
    ProtocolConfig protocol = new ProtocolConfig("dubbo", Integer.parseInt(System.getenv("PORT")));
    protocol.setHost(asNumber(System.getenv("HOST")));
    ServiceConfig<Shop> service = new ServiceConfig<>();
    service.setInterface(Shop.class);
    service.setRef(shop);
    service.setVersion(version);
    service.setSerialization(serialization);
    service.setParameters(Map.of("prefer.serialization", serialization));
    service.setProtocol(protocol);
    return service;
  }

  /** An address of 127.0.0.0/8 as one number: where it stands as such, Dubbo listens on all addresses instead. */
  private static String asNumber(String address) {
    long number = 0;
    for (String part : address.split("\\.")) number = number << 8 | Integer.parseInt(part);
    return Long.toString(number);
  }
}
