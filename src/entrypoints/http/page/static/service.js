// The service's own HTTP API, relative to where the page came from.

import { Exchange } from "./exchange.js";

export class Service {
  constructor(token) {
    this.token = token;
  }

  /** Return a request that is not sent yet. */
  exchange(method, path, { body, isStream } = {}) {
    const url = new URL(path.replace(/^\//, ""), document.baseURI);
    url.hash = "";
    return new Exchange(method, url.href, { body, isStream, token: this.token });
  }

  /** Return what is at a path. Throws ServiceError. */
  async get(path) {
    const exchange = this.exchange("GET", path);
    await exchange.send();
    return exchange.text();
  }
}
