package io.github.rollcallgo.client;

/** Is told how a client's connection goes. */
@FunctionalInterface
public interface StateListener {
    /**
     * Is called for each state, in order, on the thread of the handlers. ONLINE comes before the messages of its connection, perhaps
     * before {@link ClientBuilder#connect} has returned. RECONNECTING comes when a connection was lost, and again for each attempt that
     * failed. CLOSED comes once, and last. Nothing is told of a connect that fails.
     *
     * @param change what the client does now, and why
     */
    void changed(StateChange change);
}
