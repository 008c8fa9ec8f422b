package redisdir

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/rollcall-go/rollcall/cluster"
)

// Table implements cluster.Directory.
func (d *Directory) Table(ctx context.Context) (cluster.View, error) {
	answer, err := d.call(ctx, "table", []string{d.table})
	if err != nil {
		return cluster.View{}, err
	}
	return view(answer)
}

// Join implements cluster.Directory.
func (d *Directory) Join(ctx context.Context, m cluster.Member, o cluster.JoinOptions) (cluster.Incarnation, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return 0, err
	}
	args := []string{string(text), number(o.Former), o.Bootstrap, d.buckets, flag(o.Open != nil)}
	if o.Open != nil {
		args = append(append(args, number(o.Open.Floor)), known(o.Open)...)
	}
	answer, err := d.call(ctx, "join", []string{d.table}, args...)
	if err != nil {
		return 0, err
	}
	if status(answer) == "BUCKETS" {
		n, _ := answer[1].ToString()
		return 0, fmt.Errorf("rollcall: the cluster's records are in %s buckets, and this node has Buckets %s: they must be the same", n, d.buckets)
	}
	if err := statusError(answer); err != nil {
		return 0, err
	}
	if len(answer) != 2 {
		return 0, errAnswer
	}
	s, err := answer[1].ToString()
	if err != nil {
		return 0, err
	}
	return incarnation(s)
}

func incarnation(s string) (cluster.Incarnation, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	return cluster.Incarnation(n), err
}

// Renew implements cluster.Directory. It has a connection of its own, so that nothing holds it up.
func (d *Directory) Renew(ctx context.Context, me cluster.Incarnation, m cluster.Member, floor cluster.Version) (v cluster.View, err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return cluster.View{}, err
	}
	for again := false; ; again = true {
		err = d.client.Dedicated(func(c rueidis.DedicatedClient) error {
			commands := rueidis.Commands{d.command("renew", []string{d.table}, []string{number(me), string(text), number(floor)})}
			if d.cfg.WaitReplicas > 0 {
				commands = append(commands, c.B().Wait().Numreplicas(int64(d.cfg.WaitReplicas)).Timeout(d.cfg.WaitFor.Milliseconds()).Build())
			}
			v, err = d.renewed(c.DoMulti(ctx, commands...))
			return err
		})
		switch {
		case again || err == nil || ctx.Err() != nil:
			return v, err
		case isMissing(err):
			if err := d.load(ctx); err != nil {
				return cluster.View{}, err
			}
		case v.Epoch != "" || isAnswer(err):
			return v, err
		}
		// The connection was one that had ended meanwhile. A renewal that counts twice does no harm.
	}
}

// isAnswer reports whether an error is the server's.
func isAnswer(err error) bool {
	_, ok := rueidis.IsRedisErr(err)
	return ok
}

// renewed returns what the answers to a renewal, and to the question how many replicas have it, say.
func (d *Directory) renewed(answers []rueidis.RedisResult) (cluster.View, error) {
	answer, err := answers[0].ToArray()
	if err != nil {
		return cluster.View{}, err
	}
	v, err := view(answer)
	if err != nil {
		return v, err
	}
	if err := statusError(answer); err != nil {
		return v, err
	}
	if len(answers) > 1 {
		n, err := answers[1].AsInt64()
		if err != nil {
			return cluster.View{}, err
		}
		if n < int64(d.cfg.WaitReplicas) {
			return v, cluster.ErrNotDurable
		}
	}
	return v, nil
}

// Rejoin implements cluster.Directory.
func (d *Directory) Rejoin(ctx context.Context, me cluster.Incarnation, m cluster.Member, o cluster.RejoinOptions) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	args := append([]string{number(me), string(text), number(o.Floor), d.buckets}, known(&o)...)
	return d.do(ctx, "rejoin", args...)
}

// known returns how the library is told of other nodes: the dead, "-", those that may be alive.
func known(o *cluster.RejoinOptions) (args []string) {
	for _, inc := range o.Dead {
		args = append(args, number(inc))
	}
	args = append(args, "-")
	for _, inc := range o.Known {
		args = append(args, number(inc))
	}
	return args
}

// Ready implements cluster.Directory.
func (d *Directory) Ready(ctx context.Context, me cluster.Incarnation, o cluster.ReadyOptions) (bool, error) {
	answer, err := d.call(ctx, "ready", []string{d.table}, number(me), number(o.Floor), flag(o.Settled), flag(o.Overdue), o.Epoch, flag(o.Stale))
	if err == nil {
		err = statusError(answer)
	}
	if err != nil {
		return false, err
	}
	if len(answer) != 2 {
		return false, errAnswer
	}
	armed, err := answer[1].ToString()
	return armed == "1", err
}

// Bury implements cluster.Directory.
func (d *Directory) Bury(ctx context.Context, by, who cluster.Incarnation, epoch string, renewals uint64) error {
	return d.do(ctx, "bury", number(by), epoch, number(who), number(renewals))
}

// Swept implements cluster.Directory.
func (d *Directory) Swept(ctx context.Context, by cluster.Incarnation, epoch string, dead []cluster.Incarnation) error {
	args := []string{number(by), epoch}
	for _, inc := range dead {
		args = append(args, number(inc))
	}
	return d.do(ctx, "swept", args...)
}

// Leave implements cluster.Directory.
func (d *Directory) Leave(ctx context.Context, me cluster.Incarnation) error {
	return d.do(ctx, "leave", number(me))
}

// do calls a function on the table that answers with its status alone.
func (d *Directory) do(ctx context.Context, function string, args ...string) error {
	answer, err := d.call(ctx, function, []string{d.table}, args...)
	if err != nil {
		return err
	}
	return statusError(answer)
}

// view returns the table that an answer has: status, armed, epoch, stamp, floor, rows.
func view(answer []rueidis.RedisMessage) (v cluster.View, err error) {
	if len(answer) != 6 {
		return v, errAnswer
	}
	var texts [4]string
	for i := range texts {
		if texts[i], err = answer[i+1].ToString(); err != nil {
			return v, err
		}
	}
	v.Armed, v.Epoch, v.Stamp = texts[0] == "1", texts[1], texts[2]
	floor, err := strconv.ParseUint(texts[3], 10, 64)
	if err != nil {
		return v, err
	}
	v.Floor = cluster.Version(floor)
	rows, err := answer[5].AsStrMap()
	if err != nil {
		return v, err
	}
	for field, text := range rows {
		inc, err := incarnation(field)
		if err != nil { // another thing in the same hash
			continue
		}
		m, err := row(inc, text)
		if err != nil {
			return v, err
		}
		v.Members = append(v.Members, m)
	}
	slices.SortFunc(v.Members, func(a, b cluster.MemberState) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	return v, nil
}

// row returns what a row of the table says.
func row(inc cluster.Incarnation, text string) (m cluster.MemberState, err error) {
	head, member, ok := strings.Cut(text, "\n")
	if !ok || head == "" {
		return m, errAnswer
	}
	m.Incarnation, m.Dead, m.Swept = inc, head[0] != 'A', head[0] == 'S'
	if m.Renewals, err = strconv.ParseUint(head[1:], 10, 64); err != nil {
		return m, err
	}
	return m, json.Unmarshal([]byte(member), &m.Member)
}
