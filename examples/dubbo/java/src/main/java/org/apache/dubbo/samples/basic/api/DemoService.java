package org.apache.dubbo.samples.basic.api;

import java.util.Map;

/** What the provider serves. The Python pair beside this one serves and calls the same. */
public interface DemoService {
  /** `Hello NAME, response from POD_NAME/INSTANCE_IP`. */
  String sayHello(String name);

  /** `Bye NAME, response from POD_NAME/INSTANCE_IP`. */
  String sayBye(String name);

  /** The attachments that this very call came with. */
  Map<String, String> attachments();
}
