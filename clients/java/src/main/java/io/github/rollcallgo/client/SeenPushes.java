package io.github.rollcallgo.client;

import java.util.Iterator;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.UUID;

/** The IDs of the last pushes that were acknowledged. Only the thread of the handlers uses it. */
final class SeenPushes {
    static final int MOST = 1024;

    private final Set<UUID> ids = new LinkedHashSet<>();

    boolean has(UUID id) {
        return ids.contains(id);
    }

    /** Remembers an ID, and forgets the oldest if there are too many. */
    void add(UUID id) {
        if (ids.add(id) && ids.size() > MOST) {
            Iterator<UUID> oldest = ids.iterator();
            oldest.next();
            oldest.remove();
        }
    }
}
