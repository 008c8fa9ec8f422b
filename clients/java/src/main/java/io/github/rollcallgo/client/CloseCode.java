package io.github.rollcallgo.client;

import java.util.HashMap;
import java.util.Map;

/**
 * The codes with which a server closes a connection, refuses a logon or answers a request. The first digit says what to do, also for a
 * code that has no constant here: after 1xxx and 3xxx a client may reconnect, after 2xxx and 4xxx it must not, and 5xxx belongs to one
 * request. The application defines 3xxx and 4xxx.
 */
public final class CloseCode {
    /** The client ended the connection. */
    public static final int CLIENT_CLOSED = 1000;
    /** The connection was reset, ended without a Close, or could not be made. */
    public static final int NETWORK_ERROR = 1001;
    /** The server heard nothing from the client for too long. */
    public static final int HEARTBEAT_TIMEOUT = 1002;
    /** The client does not read what is sent to it. */
    public static final int SLOW_CONSUMER = 1003;
    /** The server is going down, or ended all sessions. */
    public static final int SERVER_STOPPING = 1004;
    /** No first frame came in time. */
    public static final int LOGON_TIMEOUT = 1005;
    /** The server is full. */
    public static final int TOO_MANY_CONNECTIONS = 1006;
    /** The client sent more than may wait, or than it may in a second. */
    public static final int RATE_LIMITED = 1007;
    /** The server failed. */
    public static final int INTERNAL_ERROR = 1008;
    /** The server could not reach the other servers of its cluster for too long. */
    public static final int NODE_LOST = 1009;
    /** The client's token has expired, and was not renewed. */
    public static final int TOKEN_EXPIRED = 1010;
    /** The same user logged on again. */
    public static final int PUSHED_OUT = 2000;
    /** The user is online elsewhere, and stays so. */
    public static final int ALREADY_LOGGED_ON = 2001;
    /** The application threw the user out. */
    public static final int KICKED_OUT = 2002;
    /** The authenticator refused the logon. */
    public static final int UNAUTHORIZED = 2003;
    /** A frame broke the protocol. */
    public static final int INVALID_MESSAGE = 2004;
    /** A frame carried another user's ID. */
    public static final int WRONG_USER_ID = 2005;
    /** A frame broke a limit. */
    public static final int MESSAGE_TOO_LARGE = 2006;
    /** The user may not log on with this device class. */
    public static final int DEVICE_NOT_ALLOWED = 2007;
    /** The client sent nothing but heartbeats and acknowledgements for longer than the server's idle time. */
    public static final int SESSION_EXPIRED = 2008;
    /** The user that a message was for is not online. */
    public static final int USER_OFFLINE = 5000;
    /** The receiver does not know this message type. */
    public static final int NO_HANDLER = 5001;
    /** The request could not be carried out. */
    public static final int HANDLER_FAILED = 5002;
    /** The application does not allow the request. */
    public static final int REFUSED = 5003;
    /** No answer came in time. */
    public static final int TIMED_OUT = 5004;

    private static final Map<Integer, String> NAMES = new HashMap<>();

    static {
        String[] first = {"ClientClosed", "NetworkError", "HeartbeatTimeout", "SlowConsumer", "ServerStopping", "LogonTimeout",
            "TooManyConnections", "RateLimited", "InternalError", "NodeLost", "TokenExpired"};
        String[] second = {"PushedOut", "AlreadyLoggedOn", "KickedOut", "Unauthorized", "InvalidMessage", "WrongUserID",
            "MessageTooLarge", "DeviceNotAllowed", "SessionExpired"};
        String[] fifth = {"UserOffline", "NoHandler", "HandlerFailed", "Refused", "TimedOut"};
        name(CLIENT_CLOSED, first);
        name(PUSHED_OUT, second);
        name(USER_OFFLINE, fifth);
    }

    private CloseCode() {
    }

    private static void name(int from, String[] names) {
        for (int i = 0; i < names.length; i++) {
            NAMES.put(from + i, names[i]);
        }
    }

    /**
     * Returns a code's name, such as {@code PushedOut}.
     *
     * @param code any number
     * @return the name, or {@code code N} for one that this class does not know
     */
    public static String name(int code) {
        String name = NAMES.get(code);
        return name != null ? name : "code " + code;
    }

    /**
     * Tells whether a client that was closed with a code may connect again by itself.
     *
     * @param code any number
     * @return true for 1000 to 1999 and 3000 to 3999
     */
    public static boolean mayReconnect(int code) {
        return code / 1000 == 1 || code / 1000 == 3;
    }
}
