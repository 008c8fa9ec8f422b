package io.github.rollcallgo.client;

/** How a client's connection goes, as a {@link StateListener} is told. */
public final class StateChange {
    private final ConnectionState state;
    private final String user;
    private final RollcallException reason;

    StateChange(ConnectionState state, String user, RollcallException reason) {
        this.state = state;
        this.user = user;
        this.reason = reason;
    }

    /** {@return what the client does now} */
    public ConnectionState state() {
        return state;
    }

    /** {@return the user as the server spells it, or as the builder does if the server has not said} */
    public String user() {
        return user;
    }

    /**
     * {@return null with ONLINE; otherwise why the connection or the attempt failed, or a {@link ClientClosedException} after
     * {@link RollcallClient#close}}
     */
    public RollcallException reason() {
        return reason;
    }

    /** Shows the state and the reason. */
    @Override
    public String toString() {
        return reason == null ? state.toString() : state + ", " + reason.getMessage();
    }
}
