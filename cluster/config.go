package cluster

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.uber.org/zap"

	"github.com/rollcall-go/rollcall/internal/clock"
)

// Config holds the settings of a Node. Directory and Mesh are needed. Times are those of all nodes of a cluster: they must be the same.
type Config struct {
	// Directory is the cluster's store: that of package cluster/redisdir or cluster/memory. It is needed.
	Directory Directory
	// Mesh carries the nodes' messages to each other. It is needed.
	Mesh Mesh
	// Name is the node's name, for people. Empty means that it has none.
	Name string
	// Lease is how long a node acts without a renewal, and how long the users of a node that has died wait before they can log on
	// elsewhere. The first node of a cluster also waits for a lease, if the store may have lost something: for example, because the
	// store was just started. 100 ms to a day; 0 or less means 20 s.
	Lease time.Duration
	// Renew is how often the lease is renewed. It must be at least 1 ms, and at most a quarter of Lease. 0 or less means a fifth of Lease.
	Renew time.Duration
	// Margin is how long before the end of its lease a node stops acting, because the clocks of nodes may run at different rates. It
	// must be less than Lease - 2·Renew. 0 or less means a tenth of Lease.
	Margin time.Duration
	// StoreLost says what happens when the store is lost for so long that the lease would end: with Closed, which is the default, the
	// node's sessions end; with Open the node goes on, and rule 19 does not hold until the store is back.
	StoreLost StoreLost
	// Events are the functions that the node calls; all of them may be nil.
	Events Events
	// QueryTimeout is how long the node waits for a sign of another that it has asked: see Answer.Missing. 0 or less means 2 s.
	QueryTimeout time.Duration
	// LocationTTL is how long the node believes that a user's sessions are at the nodes where it has found them. A message to a user
	// who has moved meanwhile comes back and goes to the new place, so a long time costs no message. It is also how long a session
	// that came in beside others of its user may get no messages from this node, where what nodes tell each other of it was lost. 0
	// or less means 10 s.
	LocationTTL time.Duration
	// Locations is for how many users the node keeps that in mind. Each takes some 150 bytes. 0 or less means 100,000.
	Locations int
	// Details, when set, has the node write what is known of its sessions into the store, for programs that are not nodes: a
	// SessionDetail for each session, when it begins, and again each third of Details. What is not written again is forgotten after
	// Details. The Directory must be a DetailStore. 0 or less means that nothing is written. With StoreLost Open two sessions of a user that came
	// in while the store was lost may have the same Generation: the store then has the details of one of them.
	Details time.Duration
	// Logger gets messages for operators. Nil means that warnings and errors go to standard error.
	Logger *zap.Logger

	now func() time.Duration // for tests: another clock
}

const (
	leastLease = 100 * time.Millisecond
	mostLease  = 24 * time.Hour
	leastRenew = time.Millisecond
	// mostTime is what longer times are taken for, so that no sum of them overflows.
	mostTime = math.MaxInt64 / 16
)

// complete sets the defaults.
func (c *Config) complete() error {
	if c.Directory == nil || c.Mesh == nil {
		return errors.New("rollcall: a cluster's node needs a Directory and a Mesh: see packages cluster/redisdir and cluster/memory")
	}
	if c.Lease <= 0 {
		c.Lease = 20 * time.Second
	}
	for _, d := range []*time.Duration{&c.QueryTimeout, &c.LocationTTL, &c.Details} {
		*d = min(*d, mostTime)
	}
	if c.Renew <= 0 {
		c.Renew = c.Lease / 5
	}
	if c.Margin <= 0 {
		c.Margin = c.Lease / 10
	}
	if _, ok := c.Directory.(DetailStore); c.Details > 0 && !ok {
		return errors.New("rollcall: Details is set, and the Directory keeps no details: it is no DetailStore")
	}
	if c.QueryTimeout <= 0 {
		c.QueryTimeout = 2 * time.Second
	}
	if c.LocationTTL <= 0 {
		c.LocationTTL = 10 * time.Second
	}
	if c.Locations <= 0 {
		c.Locations = 100_000
	}
	if c.Lease < leastLease || c.Lease > mostLease {
		return fmt.Errorf("rollcall: Lease %v is out of range: it must be at least %v, and at most %v", c.Lease, leastLease, mostLease)
	}
	if c.Renew < leastRenew {
		return fmt.Errorf("rollcall: Renew %v is too short: it must be at least %v", c.Renew, leastRenew)
	}
	if c.StoreLost > Open {
		return fmt.Errorf("rollcall: StoreLost %d is neither Closed nor Open", c.StoreLost)
	}
	if c.Renew > c.Lease/4 {
		return fmt.Errorf("rollcall: Renew %v is more than a quarter of Lease %v", c.Renew, c.Lease)
	}
	if c.Margin >= c.Lease-2*c.Renew {
		return fmt.Errorf("rollcall: Margin %v leaves no time for two renewals: Lease is %v, Renew %v", c.Margin, c.Lease, c.Renew)
	}
	if c.now == nil {
		c.now = clock.SinceBoot
	}
	return nil
}

// silence is how long a node may leave a question unanswered before it is taken for dead or cut off: logons that need it are then
// refused at once.
func (c *Config) silence() time.Duration { return min(3*time.Second, c.Lease/4) }
