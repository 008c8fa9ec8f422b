package mesh

import "sync/atomic"

// Stats is a snapshot of a Mesh. Counters count from New on.
type Stats struct {
	Reached int // other processes of the cluster to which there is a connection
	Lost    int // other processes to which there is none now
	Queued  int // bytes of frames that wait for them

	Sent     uint64 // frames handed to the network
	Received uint64 // frames that came, for this process or a former one at its address
	Refused  uint64 // frames that Send did not take
}

// figures are the counters of Stats.
type figures struct{ sent, received, refused atomic.Uint64 }

// Stats returns the mesh's figures. Any goroutine may call it.
func (m *Mesh) Stats() Stats {
	s := Stats{Sent: m.figures.sent.Load(), Received: m.figures.received.Load(), Refused: m.figures.refused.Load()}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.peers {
		p.mu.Lock()
		if p.up {
			s.Reached++
		} else {
			s.Lost++
		}
		s.Queued += p.bytes
		p.mu.Unlock()
	}
	return s
}
