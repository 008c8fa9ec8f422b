package usermgr_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// claimTable is the claims of managers that stand together, in memory. Sessions of one user on one device exclude each other.
type claimTable struct {
	ignoreNew bool
	marked    func() // called in each Claim between the entry and the evictions; nil for nothing

	mu         sync.Mutex
	generation uint64
	entries    map[string][]*claimEntry // by user
}

// claimEntry is a session's, from its claim to its release.
type claimEntry struct {
	owner      *tableNode
	session    uuid.UUID
	device     uint16
	generation uint64
	gone       chan struct{} // closed when the entry is out of the table
}

// tableNode is what one manager sees of the table.
type tableNode struct {
	table   *claimTable
	manager *usermgr.Manager
}

func (t *claimTable) node() *tableNode { return &tableNode{table: t} }

// size returns how many claims there are.
func (t *claimTable) size() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, all := range t.entries {
		n += len(all)
	}
	return n
}

// enter adds the request's entry, and returns those that it excludes.
func (t *claimTable) enter(n *tableNode, r usermgr.ClaimRequest) (own *claimEntry, excluded []*claimEntry, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries[r.Logon.UserID] {
		if e.device == r.Logon.Device {
			excluded = append(excluded, e)
		}
	}
	if t.ignoreNew && len(excluded) > 0 {
		return nil, nil, &protocol.CloseError{Code: protocol.AlreadyLoggedOn}
	}
	t.generation++
	own = &claimEntry{owner: n, session: r.Session, device: r.Logon.Device, generation: t.generation, gone: make(chan struct{})}
	if t.entries == nil {
		t.entries = make(map[string][]*claimEntry)
	}
	t.entries[r.Logon.UserID] = append(t.entries[r.Logon.UserID], own)
	return own, excluded, nil
}

func (t *claimTable) remove(user string, session uuid.UUID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.entries[user]
	i := slices.IndexFunc(all, func(e *claimEntry) bool { return e.session == session })
	if i < 0 {
		panic("a claim was released that there was not")
	}
	close(all[i].gone)
	t.entries[user] = slices.Delete(all, i, i+1)
}

func (n *tableNode) Claim(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
	own, excluded, err := n.table.enter(n, r)
	if err != nil {
		return usermgr.Claimed{}, err
	}
	if n.table.marked != nil {
		n.table.marked()
	}
	for _, e := range excluded {
		if e.owner == n { // the manager ends its own
			continue
		}
		e.owner.manager.Evict(e.session, r.Logon.Address, protocol.PushedOut)
		select {
		case <-e.gone:
		case <-ctx.Done():
			n.table.remove(r.Logon.UserID, r.Session)
			return usermgr.Claimed{}, ctx.Err()
		}
	}
	return usermgr.Claimed{Generation: own.generation}, nil
}

func (n *tableNode) Release(user string, session uuid.UUID, _ uint64, _ usermgr.SessionInfo) {
	n.table.remove(user, session)
}

// grantLater are claims that are granted when the test says so, or refused when their context ends. asked has each that waits.
func grantLater() (c *claimsFunc, asked chan usermgr.ClaimRequest, grant chan error) {
	asked, grant = make(chan usermgr.ClaimRequest, 1), make(chan error)
	return &claimsFunc{claim: func(ctx context.Context, r usermgr.ClaimRequest) (usermgr.Claimed, error) {
		if r.Logon.Fields["claim"] == "" {
			return usermgr.Claimed{Generation: 1}, nil
		}
		asked <- r
		select {
		case err := <-grant:
			return usermgr.Claimed{Generation: 2}, err
		case <-ctx.Done():
			return usermgr.Claimed{}, ctx.Err()
		}
	}}, asked, grant
}

// claimDeadline is how long a logon of these tests may take, in fake time.
const claimDeadline = 10 * time.Second
