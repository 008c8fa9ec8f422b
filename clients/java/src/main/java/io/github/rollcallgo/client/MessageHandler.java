package io.github.rollcallgo.client;

/** Handles the messages of one type. */
@FunctionalInterface
public interface MessageHandler {
    /**
     * Is called for a message of the server or of another user. Handlers, push handlers and listeners run one at a time, in the order
     * of the messages, on one thread of the client, and may block. The message may be kept, and be answered later on any thread.
     *
     * @param message what has come
     * @throws Exception to answer a request that was not answered yet: a {@link ReplyException} with its code and text, any other
     *                   with {@link CloseCode#HANDLER_FAILED}. Those others go to {@link ClientBuilder#onHandlerError}
     */
    void handle(Message message) throws Exception;
}
