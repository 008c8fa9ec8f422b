package admin

import "time"

// bansView are the addresses that engines let no connection in from.
type bansView struct {
	Bans  []addressBan `json:"bans"`  // engine by engine, ordered by address
	Whole bool         `json:"whole"` // no more of them are in force
}

type addressBan struct {
	Network string    `json:"network"`
	Engine  string    `json:"engine"` // its name
	Until   time.Time `json:"until"`
	Reason  string    `json:"reason"` // see engine.Ban
}

// bans answers with the banned addresses.
func (a *Admin) bans(c *call) {
	limit, ok := c.number("limit", 1000, 1, 1000)
	if !ok {
		return
	}
	v := bansView{Bans: []addressBan{}, Whole: true}
	for i := range a.cfg.Engines {
		e := &a.cfg.Engines[i]
		for _, b := range e.Engine.Bans() {
			if v.Whole = len(v.Bans) < limit; !v.Whole {
				c.answer(v)
				return
			}
			v.Bans = append(v.Bans, addressBan{b.Prefix.String(), e.Name, b.Until, b.Reason})
		}
	}
	c.answer(v)
}
