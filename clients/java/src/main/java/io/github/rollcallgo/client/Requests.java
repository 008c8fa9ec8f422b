package io.github.rollcallgo.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** The requests of a connection that wait for their replies. Its connection's lock guards it. */
final class Requests {
    private static final class Open {
        final String to;
        final CompletableFuture<Message> reply;

        Open(String to, CompletableFuture<Message> reply) {
            this.to = to;
            this.reply = reply;
        }
    }

    private final Map<Integer, Open> open = new HashMap<>();
    private int last;

    /** IDs begin behind a number, which is to be random: a relayed reply reaches every session of the user who asked. */
    Requests(int first) {
        last = first;
    }

    /** Returns an ID that no open request has; never 0. */
    int nextId() {
        do {
            last++;
        } while (last == 0 || open.containsKey(last));
        return last;
    }

    /** Adds a request to a user, or to the server, whose name is empty. Returns its ID. */
    int add(String to, CompletableFuture<Message> reply) {
        int id = nextId();
        open.put(id, new Open(to, reply));
        return id;
    }

    /** Takes the request that a reply answers. Null if none is open, or another user was asked. */
    CompletableFuture<Message> answeredBy(String from, int id) {
        Open o = open.get(id);
        if (o == null || !from.isEmpty() && !from.equals(o.to)) {
            return null;
        }
        open.remove(id);
        return o.reply;
    }

    void remove(int id) {
        open.remove(id);
    }

    boolean isEmpty() {
        return open.isEmpty();
    }

    Collection<CompletableFuture<Message>> takeAll() {
        List<CompletableFuture<Message>> all = new ArrayList<>(open.size());
        for (Open o : open.values()) {
            all.add(o.reply);
        }
        open.clear();
        return all;
    }
}
