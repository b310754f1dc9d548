package org.apache.dubbo.samples.basic;

import java.util.Map;
import java.util.TreeMap;
import org.apache.dubbo.common.Version;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.samples.basic.api.DemoService;

/** Serves DemoService at HOST:PORT, without a registry: who calls it knows where it is. */
public final class Provider implements DemoService {
  private final String me = System.getenv("POD_NAME") + "/" + System.getenv("INSTANCE_IP");

  @Override
  public String sayHello(String name) {
    return "Hello " + name + ", response from " + me;
  }

  @Override
  public String sayBye(String name) {
    return "Bye " + name + ", response from " + me;
  }

  @Override
  public Map<String, String> attachments() {
    Map<String, String> seen = new TreeMap<>(RpcContext.getServerAttachment().getAttachments());
    seen.forEach((key, value) -> System.out.println("attachment " + key + ": " + value));
    return seen;
  }

  public static void main(String[] arguments) throws Exception {
    Local.quietly();
    String host = System.getenv("HOST");
    int port = Integer.parseInt(System.getenv("PORT"));
    ProtocolConfig protocol = new ProtocolConfig("dubbo", port);
    protocol.setHost(Local.asOneNumber(host));
    protocol.setSerialization("hessian2");
    ServiceConfig<DemoService> service = new ServiceConfig<>();
    service.setInterface(DemoService.class);
    service.setRef(new Provider());
    DubboBootstrap.getInstance()
        .application(Local.application("dubbo-sample-provider"))
        .registry(new RegistryConfig("N/A"))
        .protocol(protocol)
        .service(service)
        .start();
    System.out.println(
        "Apache Dubbo " + Version.getVersion() + " (Java): serving at " + host + ":" + port);
    Thread.currentThread().join();
  }
}
