package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// past has the sessions before a session: those that it has pushed out, and those of the same client that it continues; the latest first.
// So a client that comes back by itself with an older session is known on a node that has never had that session.
type past []pastSession

type pastSession struct {
	id        pastID
	continued bool // or it was pushed out
}

// pastID is a digest of a session's ID and user.
type pastID [8]byte

const (
	// maxPast is how many sessions an entry has at most, and with a token one less. So a record with one session takes at most 64 bytes with
	// its version. Redis stores larger values in another way.
	maxPast = 3
	// pastContinued is the bit of the first session that is continued, in the first byte of an encoded past. The bits below are the number of
	// sessions.
	pastContinued = 1 << 4
)

func pastIDOf(user string, session uuid.UUID) (d pastID) {
	sum := sha256.Sum256(append([]byte(user+"\x00"), session[:]...))
	copy(d[:], sum[:])
	return d
}

// appendTo appends the encoded past: 1 B, and 8 B for each session.
func (p past) appendTo(b []byte) []byte {
	head := byte(len(p))
	for i := range p {
		if p[i].continued {
			head |= pastContinued << i
		}
	}
	b = append(b, head)
	for i := range p {
		b = append(b, p[i].id[:]...)
	}
	return b
}

// decodePast returns the past at the beginning of b, and what follows.
func decodePast(b []byte) (p past, rest []byte, ok bool) {
	if len(b) == 0 {
		return nil, nil, false
	}
	head, n := b[0], int(b[0]%pastContinued)
	b = b[1:]
	if n == 0 || n > maxPast || len(b) < n*len(pastID{}) || head/pastContinued>>n != 0 {
		return nil, nil, false
	}
	for i := range n {
		s := pastSession{continued: head&(pastContinued<<i) != 0}
		b = b[copy(s.id[:], b):]
		p = append(p, s)
	}
	return p, b, true
}

// has reports whether a session is in the past as one that is continued, or as one that was pushed out.
func (p past) has(id pastID, continued bool) bool {
	return slices.Contains(p, pastSession{id, continued})
}

// add returns the past with one more session, unless it has that already.
func (p past) add(s ...pastSession) past {
	for _, s := range s {
		if !slices.ContainsFunc(p, func(o pastSession) bool { return o.id == s.id }) {
			p = append(p, s)
		}
	}
	return p
}

// returning returns the session with which the client of a logon comes back by itself; false for none.
func returning(l *usermgr.Logon) (id uuid.UUID, ok bool) {
	id, err := uuid.Parse(l.Session)
	return id, err == nil
}

// pastOf returns the past of a claim's session. meant are the indices of the entries that it excludes, the oldest first.
func (c *claim) pastOf(entries []entry, meant []int) (p past) {
	var older past
	if id, ok := returning(&c.open.logon); ok {
		p = p.add(pastSession{pastIDOf(c.user, id), true})
	}
	for _, i := range slices.Backward(meant) {
		e := &entries[i]
		p = p.add(pastSession{pastIDOf(c.user, e.session), c.same(e)})
		for _, s := range e.past {
			s.continued = s.continued && c.same(e)
			older = older.add(s)
		}
	}
	most := maxPast
	if c.own.hasToken() {
		most--
	}
	p = p.add(older...)
	return p[:min(len(p), most)]
}

// mayReturn returns why a client that comes back by itself, with a session that has ended, is refused (rule 26): because a session that
// lives has pushed it out, or because the logon would end a newer login.
func (n *Node) mayReturn(c *claim, entries []entry) error {
	id, ok := returning(&c.open.logon)
	if !ok {
		return nil
	}
	back := pastIDOf(c.user, id)
	n.mu.Lock()
	defer n.mu.Unlock()
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return n.isGhost(&e) })
	for i := range entries {
		if entries[i].past.has(back, false) { // also where the entry of the session that it has pushed out is still there
			return &protocol.CloseError{Code: protocol.PushedOut, Text: textPushedOut}
		}
	}
	if n.policy.ReturnWins || slices.ContainsFunc(entries, func(e entry) bool { return c.takesOver(&e) }) {
		return nil
	}
	_, entries = splitGraces(entries) // no login is ended there
	all, _ := n.excludedBy(c, entries)
	for _, i := range all {
		if e := &entries[i]; !c.same(e) && isNewer(e.session, id) {
			return &protocol.CloseError{Code: protocol.PushedOut, Text: textPushedOut}
		}
	}
	return nil
}

// textPushedOut is that of package usermgr.
const textPushedOut = "the same user logged on again"

// isNewer reports whether a session began after another, by the times in their IDs, which are those of their nodes' clocks.
func isNewer(a, b uuid.UUID) bool {
	return binary.BigEndian.Uint64(a[:]) > binary.BigEndian.Uint64(b[:])
}
