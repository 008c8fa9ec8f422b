package io.github.rollcallgo.client;

/** Handles the pushes of the server. */
@FunctionalInterface
public interface PushHandler {
    /**
     * Is called once for each push, on the thread of the handlers. When it returns, the client acknowledges a push that is to be
     * confirmed. Kinds that it does not know it should ignore.
     *
     * @param push what has come; it may be kept
     * @throws Exception to leave the push unacknowledged, so that the server may send it again; the exception goes to
     *                   {@link ClientBuilder#onHandlerError}
     */
    void handle(Push push) throws Exception;
}
