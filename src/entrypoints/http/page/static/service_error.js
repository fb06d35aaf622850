// What went wrong with a request, in words for a person.

/** An error of the service, of the network, or of a stream that broke off. */
export class ServiceError extends Error {
  constructor(message, status = null) {
    super(message);
    this.status = status;
  }

  /** Of a reply's body, in the service's form or OpenAI's. */
  static ofReply(status, body, retryAfter) {
    const later = retryAfter === null ? "" : `. Try again in ${retryAfter} s`;
    return new ServiceError(`${status} ${described(body)}${later}.`, status);
  }

  /** Of an error inside a stream that had begun. */
  static ofStream(content) {
    return new ServiceError(`The answer broke off. ${content.description ?? content.message ?? ""}`.trim());
  }
}

/** Nobody answered. */
export const UNREACHABLE = "The service cannot be reached. Is it running, and the network there?";

function described(body) {
  try {
    const content = JSON.parse(body);
    return content.error ? content.error.message : `${content.name}: ${content.description}`;
  } catch { // not the service's own
    return body.slice(0, 500);
  }
}
