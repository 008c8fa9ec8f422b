package presence

import "time"

// cache remembers when users who are not visible were last seen, for others who ask. It is the same for a user who is offline and one in
// Stealth: it takes what others read, and what a tick has found when the user was seen to go, and never what the user stores in Stealth.
// It has two halves, so that the oldest go together when it is full.
type cache struct {
	size       int
	ttl        time.Duration
	young, old map[string]cached
}

// cached are the times of a user; zero for one who was never seen.
type cached struct {
	times
	since time.Time // when that was found
}

func (c *cache) init(cfg Cache) {
	c.size, c.ttl = max(cfg.Size, 0), max(cfg.TTL, 0)
	c.young = make(map[string]cached)
}

// get returns what is known of a user.
func (c *cache) get(id string) (e cached, ok bool) {
	if e, ok = c.young[id]; !ok {
		e, ok = c.old[id]
	}
	return e, ok && time.Since(e.since) < c.ttl
}

// put takes what a tick has found.
func (c *cache) put(id string, e cached) {
	if c.size == 0 || c.ttl == 0 {
		return
	}
	if len(c.young) >= max(c.size/2, 1) {
		c.old, c.young = c.young, make(map[string]cached)
	}
	if c.size == 1 {
		c.old = nil
	}
	e.since = time.Now()
	c.young[id] = e
	delete(c.old, id)
}

// read takes what the store has, unless a tick has found something newer meanwhile.
func (c *cache) read(id string, e cached) {
	if _, ok := c.get(id); !ok {
		c.put(id, e)
	}
}
