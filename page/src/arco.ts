/** The parts of Arco Design that the page is made of, each with its own styles. */

import "@arco-design/web-react/es/style/index.css";
import "@arco-design/web-react/es/Alert/style/index.css";
import "@arco-design/web-react/es/Avatar/style/index.css";
import "@arco-design/web-react/es/Button/style/index.css";
import "@arco-design/web-react/es/Card/style/index.css";
import "@arco-design/web-react/es/Input/style/index.css";
import "@arco-design/web-react/es/InputNumber/style/index.css";
import "@arco-design/web-react/es/Radio/style/index.css";
import "@arco-design/web-react/es/Rate/style/index.css";
import "@arco-design/web-react/es/Skeleton/style/index.css";
import "@arco-design/web-react/es/Switch/style/index.css";
import "@arco-design/web-react/es/Tag/style/index.css";

export { default as Alert } from "@arco-design/web-react/es/Alert";
export { default as Avatar } from "@arco-design/web-react/es/Avatar";
export { default as Button } from "@arco-design/web-react/es/Button";
export { default as Card } from "@arco-design/web-react/es/Card";
export { default as Input } from "@arco-design/web-react/es/Input";
export { default as InputNumber } from "@arco-design/web-react/es/InputNumber";
export { default as Radio } from "@arco-design/web-react/es/Radio";
export { default as Rate } from "@arco-design/web-react/es/Rate";
export { default as Skeleton } from "@arco-design/web-react/es/Skeleton";
export { default as Switch } from "@arco-design/web-react/es/Switch";
export { default as Tag } from "@arco-design/web-react/es/Tag";
export { IconDelete, IconPlus, IconRefresh } from "@arco-design/web-react/icon";
