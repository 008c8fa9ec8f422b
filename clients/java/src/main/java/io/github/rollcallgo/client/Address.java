package io.github.rollcallgo.client;

/** Where a server is, and whether it is spoken to over TLS. */
final class Address {
    private static final String TCP = "tcp://";
    private static final String TLS = "tls://";

    final boolean tls;
    final String host;
    final int port;

    private Address(boolean tls, String host, int port) {
        this.tls = tls;
        this.host = host;
        this.port = port;
    }

    /** Throws IllegalArgumentException, without the text in it: a person may have put a password there. */
    static Address parse(String text) {
        boolean tls = text.startsWith(TLS);
        Address a = tls || text.startsWith(TCP) ? hostPort(tls, text.substring(TCP.length())) : null;
        if (a == null) {
            throw new IllegalArgumentException("an address is tcp://host:port or tls://host:port");
        }
        return a;
    }

    /** The address that a server names with host:port alone; null if it is none. The scheme stays. */
    Address movedTo(String hostPort) {
        return hostPort == null ? null : hostPort(tls, hostPort);
    }

    private static Address hostPort(boolean tls, String s) {
        int colon = s.lastIndexOf(':');
        if (colon <= 0) {
            return null;
        }
        String host = s.substring(0, colon);
        boolean bracketed = host.startsWith("[") && host.endsWith("]");
        if (bracketed) {
            host = host.substring(1, host.length() - 1);
        }
        if (host.isEmpty() || host.indexOf(':') >= 0 != bracketed) {
            return null;
        }
        for (int i = 0; i < host.length(); i++) {
            if (host.charAt(i) <= ' ' || "/?#@[]".indexOf(host.charAt(i)) >= 0 || host.charAt(i) >= 0x7F) {
                return null;
            }
        }
        int port = port(s.substring(colon + 1));
        return port < 1 ? null : new Address(tls, host, port);
    }

    private static int port(String digits) {
        long n = digits.length() > 5 ? 0 : Millis.parse(digits);
        return n <= 0xFFFF ? (int) n : 0;
    }

    @Override
    public String toString() {
        return (tls ? TLS : TCP) + (host.indexOf(':') >= 0 ? "[" + host + "]" : host) + ":" + port;
    }
}
