package cluster

import (
	"context"
	"slices"
)

// Place is where a user has a session. It has no secret of the session.
type Place struct {
	Node        string // the node's name; empty where it is not known
	Incarnation Incarnation
	Device      uint16
	Generation  uint64 // see usermgr.SessionInfo.Generation
	Ending      bool   // a later logon excludes the session
	Grace       bool   // the session has ended, and the user counts as online for usermgr.Config.OfflineGrace
}

// Where returns where the user has sessions, the oldest first, as the store knows it: with sessions that wait for others to end, and
// without those of dead nodes. A user without a session has a place while a grace lasts. It costs one look into the store. While the store recovers places may be missing; the error is then
// ErrRecovering, with the places that are known. If the user's record is malformed, the error is a protocol.InternalError.
func (n *Node) Where(ctx context.Context, userID string) ([]Place, error) {
	records, err := n.dir.Look(ctx, userID)
	if err != nil {
		return nil, err
	}
	entries, err := decodeRecord(records[0].Body, records[0].Version)
	if err != nil {
		n.malformed(userID)
		return nil, errMalformed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	places := n.visible(entries)
	if n.epoch == "" {
		err = ErrRecovering
	}
	return places, err
}

// visible returns the places of a record's entries, without those of dead nodes. n.mu is held on entry.
func (n *Node) visible(entries []entry) (places []Place) {
	for i := range entries {
		e := &entries[i]
		if n.isGhost(e) {
			continue
		}
		p := Place{Incarnation: e.node, Device: e.device, Generation: uint64(e.generation), Ending: e.ending, Grace: e.grace}
		for j := range n.view.Members {
			if m := &n.view.Members[j]; m.Incarnation == e.node {
				p.Node = m.Member.Name
			}
		}
		places = append(places, p)
	}
	return places
}

// Online implements bridge.Elsewhere. It returns those of the users who have a session, or are in a grace, on any node, in their order. It asks the store, once, for
// users who have none here, and leaves out those whose record is malformed. Its error is that of Where, but for these.
func (n *Node) Online(ctx context.Context, userIDs ...string) (online []string, err error) {
	m := n.users.Load()
	var away []string
	for _, id := range userIDs {
		if !m.IsOnline(id) {
			away = append(away, id)
		}
	}
	there := make(map[string]bool)
	if len(away) > 0 {
		records, err := n.dir.Look(ctx, away...)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			entries, err := decodeRecord(r.Body, r.Version)
			if err != nil {
				n.malformed(r.User)
				continue
			}
			n.mu.Lock()
			there[r.User] = slices.ContainsFunc(entries, func(e entry) bool { return !n.isGhost(&e) })
			n.mu.Unlock()
		}
	}
	for _, id := range userIDs {
		if there[id] || m.IsOnline(id) {
			online = append(online, id)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(away) > 0 && n.epoch == "" {
		err = ErrRecovering
	}
	return online, err
}

// IsOnline reports whether the user has a session, or is in a grace, on any node. It asks the store only for a user who has none here. Its error is that
// of Where.
func (n *Node) IsOnline(ctx context.Context, userID string) (bool, error) {
	if m := n.users.Load(); m != nil && m.IsOnline(userID) {
		return true, nil
	}
	places, err := n.Where(ctx, userID)
	return len(places) > 0, err
}
