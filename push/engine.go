package push

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/rollcall-go/rollcall/bridge"
	"github.com/rollcall-go/rollcall/engine"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/usermgr"
)

// ConfirmTimeout is how long Engine waits for confirmations where the context has no deadline.
const ConfirmTimeout = 10 * time.Second

// confirmTimeout is ConfirmTimeout.
var confirmTimeout = ConfirmTimeout // a variable for the tests alone

var (
	// ErrNoFilter is returned for a target by filter where the user manager has no Matching method.
	ErrNoFilter = errors.New("rollcall: the user manager cannot find sessions by a filter")
	// ErrNoKick is returned where the user manager has no KickUser method.
	ErrNoKick = errors.New("rollcall: the user manager cannot throw users out")
)

// Engine is the Pusher that delivers to the sessions on a bridge's engine. It is a Kicker too.
type Engine struct {
	bridge        *bridge.Bridge
	confirmations confirmations
}

var (
	_ Pusher = (*Engine)(nil)
	_ Kicker = (*Engine)(nil)
)

// NewEngine returns the pusher of a bridge's engine, which takes the clients' acknowledgements from now on. Call it
// before the engine runs, once for each, or it panics.
func NewEngine(b *bridge.Bridge) *Engine {
	p := &Engine{bridge: b}
	p.confirmations.init()
	b.Engine().HandleSystem(protocol.PushAck, p.confirmations.acknowledged)
	return p
}

// Push implements Pusher. It hands the message to the connections of every session that is concerned, and does not block,
// unless m asks for confirmation: then it waits until every session has acknowledged m or ended for good, until ctx ends,
// or, where ctx has no deadline, for ConfirmTimeout. A client acknowledges when its handler has returned. One whose
// connection was lost meanwhile, or pushed out by a next one, may acknowledge on that, and is waited for: it counts as if it
// had not lost it. Whatever was lost on the way is not sent again by itself: Push the same *Message once more, and the
// client, which knows it by its ID, deals with it once.
//
// Handed over means that the message takes its place in the connection's order; without confirmation nobody knows whether
// it arrives. A user who has no session here has bridge.ErrUserOffline. Everyone is whoever has been let in: a session whose
// Connected handlers have not returned yet is not among them.
func (p *Engine) Push(ctx context.Context, to Target, m *Message) ([]Delivery, error) {
	body, err := protocol.AppendPush(nil, m)
	if err != nil {
		return nil, err
	}
	users := len(to.Users)
	if to.Everyone {
		users = p.bridge.Engine().Stats().States.Bound
	}
	r := &run{engine: p, frame: &protocol.Message{Type: protocol.Push, Body: body},
		deliveries: make([]Delivery, 0, users), index: make(map[string]int, users)}
	if m.Confirm {
		r.wait = newWait(m.ID)
		defer p.confirmations.abandon(r.wait) // what a panic of the user manager's leaves
	}
	switch {
	case to.Everyone:
		err = r.broadcast(p.everyone())
	case to.Sessions != nil:
		matching, ok := p.bridge.Users().(interface {
			Matching(usermgr.Filter) iter.Seq[usermgr.SessionInfo]
		})
		if !ok {
			return nil, ErrNoFilter
		}
		err = r.broadcast(p.conns(matching.Matching(*to.Sessions)))
	default:
		r.toUsers(to.Users)
	}
	if r.wait != nil {
		r.await(ctx)
	}
	return r.deliveries, err
}

// conns yields the connections of the sessions that are on this engine, each with its user.
func (p *Engine) conns(sessions iter.Seq[usermgr.SessionInfo]) iter.Seq2[*engine.Conn, string] {
	return func(yield func(*engine.Conn, string) bool) {
		for s := range sessions {
			if c := p.bridge.Engine().Conn(s.Address.Conn); c != nil && !yield(c, s.UserID) {
				return
			}
		}
	}
}

// everyone yields the connections that have been let in, each with its user.
func (p *Engine) everyone() iter.Seq2[*engine.Conn, string] {
	return func(yield func(*engine.Conn, string) bool) {
		for c := range p.bridge.Engine().Conns() {
			if id := c.UserID(); id != "" && !yield(c, id) {
				return
			}
		}
	}
}

// Kick implements Kicker.
func (p *Engine) Kick(ctx context.Context, userID string, o usermgr.KickOptions) ([]usermgr.Kicked, error) {
	m, ok := p.bridge.Users().(interface {
		KickUser(string, usermgr.KickOptions) (*usermgr.Kick, error)
	})
	if !ok {
		return nil, ErrNoKick
	}
	k, err := m.KickUser(userID, o)
	if err != nil {
		return nil, err
	}
	return k.Wait(ctx)
}

// run is one message on its way to its sessions.
type run struct {
	engine     *Engine
	frame      *protocol.Message
	deliveries []Delivery
	index      map[string]int // of the user's delivery
	wait       *wait          // nil where nobody is to confirm
}

// delivery returns the user's, which stays valid until the next call.
func (r *run) delivery(userID string) *Delivery {
	i, ok := r.index[userID]
	if !ok {
		i = len(r.deliveries)
		r.index[userID] = i
		r.deliveries = append(r.deliveries, Delivery{UserID: userID})
	}
	return &r.deliveries[i]
}

func (r *run) toUsers(userIDs []string) {
	for _, id := range userIDs {
		d := r.delivery(id)
		r.engine.bridge.Reach(id, func(c *engine.Conn) error {
			r.expect(c, id)
			err := c.SendMessage(r.frame)
			if err == nil {
				d.Sessions++
				return nil
			}
			r.unexpect()
			if !errors.Is(err, engine.ErrClosed) { // on its way out: as good as offline
				d.Err = err
			}
			return err
		})
		if d.Sessions == 0 && d.Err == nil {
			d.Err = bridge.ErrUserOffline
		}
	}
}

// broadcast sends to many connections at once, each with its user.
func (r *run) broadcast(to iter.Seq2[*engine.Conn, string]) error {
	var userID string // of the connection at hand
	conns := func(yield func(*engine.Conn) bool) {
		for c, id := range to {
			userID = id
			r.expect(c, id)
			r.delivery(id).Sessions++
			if !yield(c) {
				return
			}
		}
	}
	_, err := r.engine.bridge.Engine().BroadcastWith(conns, r.frame, engine.SendOptions{}, func(c *engine.Conn, why error) {
		if errors.Is(why, engine.ErrClosed) && c.SendMessage(r.frame) == nil {
			return // it is being let in: the message goes out behind the answer to the logon
		}
		r.unexpect()
		d := r.delivery(userID)
		d.Sessions--
		if !errors.Is(why, engine.ErrClosed) {
			d.Err = why
		}
	})
	for i := range r.deliveries {
		if d := &r.deliveries[i]; d.Sessions == 0 && d.Err == nil {
			d.Err = bridge.ErrUserOffline
		}
	}
	return err
}

func (r *run) expect(c *engine.Conn, userID string) {
	if r.wait != nil {
		r.engine.confirmations.expect(c, userID, r.wait)
	}
}

// unexpect takes the last expect back.
func (r *run) unexpect() {
	if r.wait != nil {
		r.engine.confirmations.unexpect(r.wait)
	}
}

// await waits for the confirmations, and enters them.
func (r *run) await(ctx context.Context) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, confirmTimeout)
		defer cancel()
	}
	r.engine.confirmations.await(ctx, r.wait, func(userID string) { r.delivery(userID).Confirmed++ })
}
