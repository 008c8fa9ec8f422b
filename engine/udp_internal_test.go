package engine

import (
	"net/netip"
	"testing"
	"time"
)

// One cookie makes one session, also where the client is let in late: a first frame that is not answered yet is remembered for longer.
func TestAFirstFrameIsRememberedUntilItIsAnswered(t *testing.T) {
	began := time.Now()
	u := &udpListener{peers: make(map[udpClient]*udpPeer)}
	add := func(nonce uint64, answer []byte) {
		p := &udpPeer{client: udpClient{netip.MustParseAddrPort("192.0.2.1:1"), nonce}, came: began, since: began, answer: answer}
		u.peers[p.client] = p
		u.order = append(u.order, p)
	}
	add(1, nil)
	add(2, []byte{1})
	add(3, nil)
	want := func(after time.Duration, n int) {
		t.Helper()
		u.sweep(began.Add(after))
		if len(u.peers) != n || len(u.order) != n {
			t.Errorf("after %v %d and %d first frames are remembered, want %d", after, len(u.peers), len(u.order), n)
		}
	}
	want(udpRepeats, 3)
	want(udpRepeats+1, 2)
	want(udpUnanswered-1, 2)
	want(udpUnanswered+udpRepeats, 0)
}
