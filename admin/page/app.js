// The page of live users. It makes elements and never HTML from text, so that an ID is never taken for markup. Types, and what their
// functions do, are in ../page.d.ts; those of the answers come from openapi.json.

const $ = (selector = '') => /** @type {any} */ (document.querySelector(selector))
const main = $('#main'), dialog = $('#ask')

// ---- elements

/** @type {MakeElement} */
const h = (name, attributes, ...children) => {
	if (attributes?.constructor !== Object) [attributes, children] = [{}, [/** @type {Child} */ (attributes), ...children]]
	const [tag, ...classes] = name.split('.')
	const svg = ['svg', 'polyline', 'line'].includes(tag)
	/** @type {any} */
	const e = document.createElementNS(svg ? 'http://www.w3.org/2000/svg' : document.body.namespaceURI, tag)
	if (classes.length) e.setAttribute('class', classes.join(' '))
	for (const [key, value] of Object.entries(attributes)) {
		if (key.startsWith('on')) e[key] = value
		else if (value !== undefined && value !== false) e.setAttribute(key, value === true ? '' : value)
	}
	e.append(.../** @type {any[]} */ (children.flat(9)).filter((c) => (c ?? false) !== false))
	return e
}

const handlers = ['onclick', 'onchange', 'onsubmit', 'oninput']

/** @type {Patch} */
function patch(old, now) {
	if (old.nodeName !== now.nodeName || old.dataset?.key !== now.dataset?.key) return old.replaceWith(now)
	if (old.nodeType === Node.TEXT_NODE) {
		if (old.data !== now.data) old.data = now.data
		return
	}
	for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name)
	for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
	for (const name of handlers) old[name] = now[name]
	if (now.hasAttribute('data-own')) return // its content is its own
	const are = [...old.childNodes], to = [...now.childNodes]
	to.forEach((n, i) => (are[i] ? patch(are[i], n) : old.append(n)))
	are.slice(to.length).forEach((n) => n.remove())
}

const hidden = /[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u3164\uffa0\u{e0000}-\u{e0fff}]/gu

/** Text of others: apart from what is around it, and with invisible characters visible. */
function text(s = '') {
	const marks = [...s.matchAll(hidden)].map(([c]) => h('span.esc', 'U+' + c.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')))
	return h('bdi', s.split(hidden).map((part, i) => [part, marks[i]]))
}

/** @type {To} */
function to(path, parameters = {}) {
	const all = parameters instanceof URLSearchParams ? parameters : new URLSearchParams(Object.entries(parameters).filter(([, v]) => v))
	return path + (all.size ? '?' + all : '')
}

/** @param {...Child} children */
const link = (href = '', ...children) => h('a', { href }, ...children)
/** @param {(e: any) => unknown} onclick */
const button = (label = '', onclick, kind = '') => h('button' + kind, { type: 'button', onclick }, label)
const userLink = (id = '') => link(to('#/user', { id }), text(id))
/** @param {Child} label */
const connLink = (n = 0, label = '#' + n) => link(to('#/conn', { n }), label)
/** @param {RoomName} r */
const roomLink = ({ name, engine }) => link(to('#/room', { name, engine }), text(name))
const codeLink = (code = '', label = code) => link(to('#/ended', { code }), label)

/** @type {Table} */
function table(rows, key, columns) {
	if (!rows.length) return h('p.note', 'None.')
	const heads = Object.keys(columns).map((s) => ({ 'data-label': s.replace(/[!@]$/, ''), class: s.endsWith('!') ? 'n' : s.endsWith('@') && 'user' }))
	return h('div.scroll', h('table', h('thead', h('tr', heads.map((c) => h('th', { class: c.class }, c['data-label'])))),
		h('tbody', rows.map((row) => h('tr', { 'data-key': key(row) }, Object.values(columns).map((cell, i) => h('td', heads[i], cell(row))))))))
}

/** Rows without a value are left out. @param {...[name: Child, Child]} rows */
const definitions = (...rows) => h('dl', rows.map((row) => row[1] && [h('dt', row[0]), h('dd', row[1])]))

// ---- numbers and times

function num(n = 0) {
	if (n >= 1e6) return (n / 1e6).toFixed(n < 1e7 ? 2 : 1) + ' M'
	return n.toLocaleString('en', { maximumFractionDigits: n < 10 ? 2 : n < 100 ? 1 : 0 })
}
function size(n = 0) {
	const power = n < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(n) / 3))
	n /= 1000 ** power
	return n.toFixed(power && n < 100 ? 1 : 0) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB'][power]
}
function span(s = 0) {
	for (const [name, unit] of Object.entries({ d: 86400, h: 3600, m: 60 })) if (s >= 2 * unit) return Math.floor(s / unit) + ' ' + name
	return Math.max(0, Math.round(s)) + ' s'
}
let skew = 0 // of this machine's clock against the server's
const since = (t = '') => span((Date.now() + skew - Date.parse(t)) / 1000)
const day = new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'medium' }), clock = new Intl.DateTimeFormat([], { timeStyle: 'medium' })
const date = (t = '') => day.format(Date.parse(t))
const at = (t = '') => h('time', { datetime: t, title: date(t) }, clock.format(Date.parse(t)))
const count = (n = 0, name = '') => num(n) + ' ' + name + (n === 1 ? '' : 's')
/** Such as "3 open, 1 closing". @param {Partial<Counts>} counts */
const parts = (counts) => Object.entries(counts).filter(([, n]) => n).map(([name, n]) => num(n) + ' ' + name).join(', ')
const waits = (toHandle = 0, toSend = 0) => size(toHandle) + ' to be handled, ' + size(toSend) + ' to be sent'
/** @param {Traffic} t */
const flow = (t) => num(t.messages) + ' · ' + size(t.bytes)

// ---- the API

let token = ''
const fault = (status = 0, message = '') => Object.assign(new Error(message), { status })

/** @type {Api} */
async function api(path, query, body) {
	/** @type {Texts} */
	const headers = token ? { Authorization: 'Bearer ' + token } : {}
	if (body) Object.assign(headers, { 'Content-Type': 'application/json', 'Rollcall-Admin': '1' })
	const where = 'api/v1/' + path.replace('{n}', /** @type {any} */ (query)?.n)
	// the page's own address may have a password
	const r = await fetch(location.origin + location.pathname + to(where, query), { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) }).catch(() => {
		throw fault(0, 'The server does not answer. Trying again …')
	})
	const v = await r.json().catch(() => ({ error: 'the answer cannot be read' }))
	if (!r.ok) throw fault(r.status, v.error)
	return v
}

function banner(s = '') {
	const e = $('#banner')
	if (e.textContent !== s) e.textContent = s
	e.hidden = !s
}
let toasted = 0
/** @param {Child} says */
function toast(says) {
	clearTimeout(toasted)
	$('#toast').replaceChildren(h('span', says))
	toasted = setTimeout(() => $('#toast').replaceChildren(), 8000)
}

// ---- the state of the server, every two seconds

/** @type {Overview} */
let overview
/** @type {Sessions | undefined} the sessions in trouble, asked for so often that the scans take a fiftieth of the time */
let trouble
let troubleAt = 0
/** @param {Overview['has'][0]} part */
const has = (part) => overview?.has.includes(part)
const mayAct = () => overview?.may === 'act'

async function status() {
	if (document.hidden) return
	try {
		overview = await api('overview')
		skew = Date.parse(overview.at) - Date.now()
		banner('')
		$('#mode').hidden = mayAct()
		if (view.path) return
		draw()
		if (Date.now() - troubleAt < Math.max(5000, 50 * (trouble?.took ?? 0))) return
		troubleAt = Date.now()
		trouble = await api('sessions', { trouble: '1', limit: 1000 }).catch(() => trouble)
		if (!view.path) draw()
	} catch (e) {
		banner(e.message)
	}
}

// ---- charts

let range = '' // which was chosen
let back = 0 // where all charts are read, in steps from the end
const read = (steps = 0) => {
	back = steps
	draw()
}
/** When the charts are read. @param {Series} s */
const readAt = (s) => (back ? clock.format(Date.parse(s.end) - back * s.step * 1000) : 'now')

/** @type {Chart} */
function chart(title, lines, s, format) {
	const steps = s.step > 1 ? 120 : 60, n = lines[0][1].length, i = n - 1 - back
	const most = Math.max(1, ...lines.flatMap((l) => l[1]))
	const x = (i = 0) => 600 - ((n - 1 - i) * 600) / (steps - 1)
	const says = lines.map(([name, v]) => name + ' ' + format(v[i] ?? 0)).join(', ')
	return h('section.card', { 'data-key': title }, h('h2', title),
		h('div.plot', h('svg', { viewBox: '0 0 600 100', preserveAspectRatio: 'none', 'aria-hidden': true },
			back > 0 && h('line', { x1: x(i), x2: x(i), y2: 100 }),
			lines.map(([, v], k) => h('polyline.s' + k, { points: v.map((y, j) => x(j).toFixed(1) + ',' + (100 - (y * 100) / most).toFixed(1)).join(' ') }))),
		h('span', n > 1 ? format(most) : 'not known yet'),
		h('input', { type: 'range', min: 1 - steps, max: 0, value: -back, 'aria-label': title + ', last ' + span(steps * s.step), 'aria-valuetext': readAt(s) + ': ' + says, oninput: (e) => read(-e.target.value) })),
		h('p.times', h('span', span(steps * s.step) + ' ago'), h('span', readAt(s))),
		h('ul.legend', lines.map(([name, v, behind], k) => h('li', h('svg', { viewBox: '0 0 27 8', 'aria-hidden': true }, h('polyline.s' + k, { points: '0,4 27,4' })),
			link(behind, name), ' ', h('b', i in v ? format(v[i]) : '–')))))
}

// ---- the views

/** @param {Counts | number[]} counts */
const add = (counts) => Object.values(counts).reduce((a, b) => a + b, 0)
/** The mean of the last ten seconds: a rate that a person can read. @param {number[]} a */
const mean = (a) => add(a.slice(-10)) / Math.max(1, Math.min(10, a.length))
/** The sum of several lines. @param {number[][]} all @param {number[]} like */
const sum = (all, like) => like.map((_, i) => all.reduce((a, v) => a + v[i], 0))

const top = (by = '') => to('#/sessions', { top: by })
const tile = (name = '', value = '', href = '', below = '', bad = false) => h('li', h('a', { href, class: bad && 'bad' }, h('span', name), h('b', value), h('span', below)))

/** @type {CountTable} */
const countTable = (counts, head, shown) => table(Object.entries(counts).filter(([, n]) => n).sort((a, b) => b[1] - a[1]), ([name]) => name, { [head]: ([name]) => shown(name), 'Since the start!': ([, n]) => num(n) })

/** @param {Engine} e */
function engineCard(e) {
	const faults = parts({ 'handler panics': e.handlerPanics, 'handler errors': e.handlerErrors, 'stuck event loops': e.stalls, 'authenticator panics': e.logons?.authenticatorPanics })
	return h('section.card', { 'data-key': 'engine ' + e.name }, h('h2', 'Engine ', text(e.name)), definitions(
		['Listens on', e.addrs.join(', ')],
		['Connections', parts({ open: e.open, 'let in': e.bound, 'without a message': e.accepted, checked: e.verifying, 'in a handshake': e.handshaking, 'before one': e.handshakesWaiting, closing: e.closing })],
		['Logging on', parts({ users: e.logons?.loggingOn, authenticating: e.logons?.authenticating })],
		['Since the start', parts({ accepted: e.acceptedTotal, probes: e.probes, 'datagrams lost': e.lost })],
		['By transport', e.open > 0 && Object.entries(e.transports).filter(([, n]) => n).sort().map(([via, n]) => [link(to('#/sessions', { via }), via), ' ' + num(n) + ' '])],
		['Waits', waits(e.inboundQueue, e.outboundQueue)],
		['Banned addresses', link('#/refused', num(e.bans))],
		['Faults', faults ? h('span.bad', '⚠ ' + faults) : 'none']))
}

/** @param {Session} s */
const troubleMarks = (s) => (s.trouble ?? []).map((t) => h('span.trouble', { dropped: 'lost messages', waiting: 'slow', silent: 'silent' }[t] ?? t))

/** @type {Map<number, string>} user IDs by connection */
const picked = new Map()

/** @param {Session} s */
const pick = (s) => h('input', { type: 'checkbox', 'aria-label': 'Pick ' + s.user, checked: picked.has(s.conn), onchange: (e) => {
	picked.delete(s.conn)
	if (e.target.checked) picked.set(s.conn, s.user)
	draw()
} })

/** @param {Session} s */
const user = (s) => [userLink(s.user), [s.tag, s.userTag].map((t) => t && [' ', h('span.tag', text(t))])]
/** @param {Session} s */
const address = (s) => text(s.address || '#' + s.conn)
/** What sessions and ended ones have. @type {Columns} */
const traffic = { 'In!': (s) => flow(s.in), 'Out!': (s) => flow(s.out), 'Dropped!': (s) => s.dropped.messages > 0 && num(s.dropped.messages) }

/** @param {Session[]} all @param {Columns} [first] columns before the others */
const sessionTable = (all, first) => table(all, (s) => s.conn, {
	...first, 'User@': user, Address: (s) => (first?.Node ? address(s) : connLink(s.conn, address(s))), Via: (s) => s.via, 'Device!': (s) => s.device, 'Online for!': (s) => since(s.logonTime),
	'Last message!': (s) => since(s.lastMessage) + ' ago', ...traffic, 'Waits!': (s) => (s.waitingIn || s.waitingOut) && size((s.waitingIn ?? 0) + (s.waitingOut ?? 0)), Trouble: troubleMarks,
})

/** @type {Columns} */
const atNode = { 'User@': user, Node: (s) => text(s.node) }
/** Who did not answer. @param {{ missing?: string[] }} v */
const missing = ({ missing = [] }) => missing.length > 0 && h('p.bad', '⚠ No answer came from ' + missing.join(', ') + '.')

/** @param {Ended[]} all */
const endedTable = (all) => table(all, (s) => s.conn, {
	'User@': user, Ended: (s) => h('span', at(s.at), ', ' + since(s.at) + ' ago'), Code: (s) => codeLink(String(s.code), s.why + ' (' + s.code + ')'), Address: address, Via: (s) => s.via,
	'Was online for!': (s) => span((Date.parse(s.at) - Date.parse(s.logonTime)) / 1000), ...traffic,
})

/** @param {Session[]} all */
const fieldsOf = (all) => all.map(({ conn, fields = {} }) => Object.keys(fields).length > 0 && [h('h2', 'Fields of ', connLink(conn)), definitions(...Object.entries(fields).map(([k, t]) => /** @type {[Child, Child]} */ ([text(k), text(t)])))])

/** @type {Texts} */
const tops = { in: 'received most', out: 'sent most', dropped: 'lost most messages', waiting: 'most waits', age: 'longest online' }

/** A select of values with names. @param {Texts} names */
const select = (name = '', names, chosen = '') => h('select', { name }, Object.entries(names).map(([value, says]) => h('option', { value, selected: value === chosen }, says)))

/** Goes to a view, with what a form has. An order has no other filters. */
const submit = (path = '') => (/** @type {any} */ e) => {
	e.preventDefault()
	const { top, ...filters } = Object.fromEntries(new FormData(e.currentTarget))
	location.hash = to(path, top ? { top } : filters)
}
/** @param {...Child} fields */
const bar = (path = '', ...fields) => h('form.bar', { onsubmit: submit(path), 'data-key': path + view.p }, fields, h('button', 'Show'), button('Refresh', () => load(true)))

/** The views by the first part of the address. @type {Record<string, Load>} */
const views = {
	'': () => () => {
		const o = overview, m = o.minute
		const shown = range || (o.hour.users.length >= 10 ? 'hour' : 'minute'), s = o[/** @type {'hour'} */ (shown)]
		const ends = Object.entries(s.ends).sort((a, b) => Math.max(...b[1]) - Math.max(...a[1])).map(([code, v]) => /** @type {Line} */ ([code, v, to('#/ended', { code })]))
		if (ends.length > 5) ends.push(['other codes', sum(ends.splice(4).map((l) => l[1]), s.logons), '#/ended'])
		if (!ends.length) ends.push(['ends', sum([], s.logons), '#/ended'])
		const c = o.cluster, apart = c?.storeLost ? 'the store is lost' : c?.recovering ? 'log-ons wait' : c?.acts ? '' : 'this one is outside'
		const bad = trouble?.sessions ?? [], dropped = mean(m.dropped)
		const choice = (time = '') => h('button', { type: 'button', 'aria-pressed': String(shown === time), onclick: () => { range = time; read(0) } }, 'Last ' + time)
		return [h('h1', 'Overview'),
			h('ul.tiles',
				tile('Users online', num(o.users), '#/sessions', count(o.sessions, 'session')),
				tile('Log-ons', num(mean(m.logons)) + '/s', '#/events', num(o.logons) + ' in all'),
				tile('Ends', num(mean(sum(Object.values(m.ends), m.logons))) + '/s', '#/ended', num(add(o.ended)) + ' in all'),
				tile('Messages in', num(mean(m.inMessages)) + '/s', top('in'), size(mean(m.inBytes)) + '/s'),
				tile('Messages out', num(mean(m.outMessages)) + '/s', top('out'), size(mean(m.outBytes)) + '/s'),
				tile('Not sent yet', size(o.engines.reduce((a, e) => a + e.outboundQueue, 0)), top('waiting'), dropped ? num(dropped) + ' dropped/s' : 'none dropped', dropped > 0),
				c && tile('Nodes', num(c.nodes), '#/nodes', apart || 'lease of ' + span(c.leaseLeft), apart !== ''),
				tile('In trouble', trouble ? num(bad.length) + (trouble.whole ? '' : '+') : '–', '#/sessions?trouble=1', 'sessions', bad.length > 0)),
			h('p', choice('minute'), ' ', choice('hour'), h('span.note', ' Click a chart for the numbers of that time.')),
			h('div.charts',
				chart('Online', [['users', s.users, '#/sessions'], ['sessions', s.sessions, '#/sessions']], s, num),
				chart('Log-ons a second', [['log-ons', s.logons, '#/events'], ['refused', s.refused, '#/refused']], s, num),
				chart('Ends a second', ends, s, num),
				chart('Messages a second', [['in', s.inMessages, top('in')], ['out', s.outMessages, top('out')], ['dropped', s.dropped, top('dropped')]], s, num),
				chart('Bytes a second', [['in', s.inBytes, top('in')], ['out', s.outBytes, top('out')]], s, size),
				chart('Waits for slow clients', [['bytes', s.waiting, top('waiting')]], s, size)),
			h('h2', link('#/sessions?trouble=1', 'Who is in trouble')),
			!trouble ? h('p.note', 'Loading …') : !bad.length ? h('p.good', '✓ No session has lost messages, is slow or is silent.') : sessionTable(bad.toSorted((a, b) => (b.waitingOut ?? 0) - (a.waitingOut ?? 0) || b.dropped.messages - a.dropped.messages).slice(0, 5)),
			h('div.charts',
				h('section.card', h('h2', 'Why sessions have ended'), countTable(o.ended, 'Code', codeLink)),
				h('section.card', h('h2', 'Who was not let in'), countTable(overview.notLetIn, 'Reason', (why) => link('#/refused', why)))),
			o.engines.map(engineCard)]
	},

	async sessions(p) {
		const v = /** @type {Search} */ (await api('sessions', p))
		const q = p.get('q'), order = p.get('top') ?? ''
		const field = (label = '', name = '', type = 'text') => h('label', label, h('input', { name, value: p.get(name) ?? '', type, min: 0, autocomplete: 'off' }))
		const next = new URLSearchParams(p)
		next.set('cursor', v.next)
		return () => {
			const users = [...new Set(picked.values())]
			return [h('h1', q ? ['Search for ', text(q)] : 'Sessions' + (order ? ', ' + tops[order] : p.get('trouble') ? ' in trouble' : '')),
				q === null && bar('#/sessions', h('label', 'Order', select('top', { '': 'none: all, by pages', ...tops }, order)),
					field('Device class', 'device', 'number'), field('Via', 'via'), field('Tag', 'tag'), field('Without a message for (s)', 'idle', 'number'),
					h('label', h('input', { type: 'checkbox', name: 'trouble', value: 1, checked: p.has('trouble') }), 'in trouble')),
				v.exact && h('p', 'Online: ', h('b', userLink(v.exact.user)), ', ' + count(v.exact.sessions.length, 'session')),
				q !== null && !v.exact && h('p', 'No user with this ID is online' + (has('cluster') ? ' on this node. ' : '. '), link(to('#/user', { id: q }), 'Ended sessions, keep out')),
				mayAct() && h('p', users.length ? button('Throw out ' + users.length + ' picked …', () => askKick({ users }), '.danger') : v.sessions.length > 0 && h('span.note', 'Pick those to throw out.')),
				sessionTable(v.sessions, mayAct() ? { Pick: pick } : {}),
				h('p.note', count(v.sessions.length, 'session'), !v.next && !order && (v.whole ? ', which is all' : '; there are more, or there was not the time to look at all'),
					v.visited > 0 && ', of ' + num(v.visited) + ' looked at in ' + num(v.took) + ' ms'),
				v.next && h('p', link(to('#/sessions', next), v.sessions.length ? 'Next page' : 'Go on looking'))]
		}
	},

	async user(p) {
		const id = p.get('id') ?? '', v = await api('user', { id }), mine = view
		if (has('chat')) mine.relations ??= await api('relations', p).catch((e) => toast(e.message))
		const more = mine.relations, all = has('cluster') && await api('nodes/sessions', { user: id }), away = all && all.sessions.length + all.missing.length > 0
		return () => [h('h1', 'User ', text(id)),
			definitions(['State', v.online ? h('span.good', '● online for ' + since(v.since ?? '')) : h('span.bad', away ? '○ not on this node' : '○ offline')], ['In', v.online && flow(v.in)],
				['Out', v.online && flow(v.out)], ['Dropped', v.dropped.messages > 0 && h('span.bad', flow(v.dropped))], ['Tag', v.tag && text(v.tag)],
				['Others see', v.presence], ['Kept out until', v.bannedUntil && h('span.bad', date(v.bannedUntil))], ['Rooms', v.rooms.length > 0 && v.rooms.map((r) => [roomLink(r), ' '])]),
			mayAct() && h('p', (has('send') || has('push')) && [button('Send …', () => askSend(id)), ' '], v.online || away ? button('Throw out …', () => askKick({ user: id }), '.danger') : button('Keep out …', () => askKick({ user: id }, '3600')), ' ',
				button('Lift a ban', () => unban(id))),
			h('h2', 'Sessions'), sessionTable(v.sessions),
			all && [h('h2', 'On all nodes'), missing(all), sessionTable(all.sessions, atNode)],
			fieldsOf(v.sessions),
			more && [h('h2', 'Groups'), table(more.groups, (g) => g.id, { 'Group@': (g) => text(g.name), Owner: (g) => userLink(g.owner), 'Members!': (g) => num(g.members) }),
				h('h2', 'Contacts'), table(more.contacts, (c) => c.user, { 'User@': (c) => userLink(c.user), State: (c) => c.state + (c.blocked ? ' blocked' : ''), Since: (c) => c.since && since(c.since) }),
				more.next && h('p', link(to('#/user', { id, after: more.next }), 'More contacts'))],
			h('h2', 'Events'), eventList(), h('h2', 'How sessions have ended'), endedTable(v.ended)]
	},

	async conn(p) {
		const n = Number(p.get('n')), v = await api('conns/{n}', { n }), s = v.session
		return () => [h('h1', 'Connection #' + n),
			definitions(['User', v.user ? userLink(v.user) : 'none yet'], ['Address', v.address && text(v.address)], ['Via', v.via], ['Engine', v.engine && text(v.engine)],
				['TLS', v.tls && text([v.tls.version, v.tls.cipher, v.tls.protocol, v.tls.serverName, v.tls.certificate].filter(Boolean).join(', '))],
				['Waits', waits(v.waitingIn, v.waitingOut)]),
			s && [h('p', 'Last sign of life: ' + since(s.lastActive) + ' ago'), sessionTable([s]), fieldsOf([s]), mayAct() && h('p', button('Throw this session out …', () => askKick({ user: v.user, conn: n }), '.danger'))]]
	},

	async ended(p) {
		const code = p.get('code') ?? '', v = await api('closed', { code, limit: 200 })
		const codes = [...new Set([code, '', ...Object.keys(overview?.ended ?? {})])].sort()
		return () => [h('h1', 'Ended sessions'),
			bar('#/ended', h('label', 'Code', select('code', Object.fromEntries(codes.map((c) => [c, c || 'any'])), code))),
			endedTable(v.closed), h('p.note', v.whole ? 'These are all that are remembered.' : 'The last ' + v.closed.length + '.')]
	},

	async nodes() {
		const v = await api('nodes')
		return () => [h('h1', 'Nodes'), missing(v), v.error && h('p.bad', v.error),
			table(v.nodes, (n) => n.number, { 'Node@': (n) => text(n.name), 'Users!': (n) => num(n.users), 'Sessions!': (n) => link(to('#/everywhere', { cursor: n.number + ' ' }), num(n.sessions)), 'Lease!': (n) => span(n.leaseLeft), Store: (n) => n.storeLost ? h('span.bad', 'lost') : 'ok' }),
			h('p', count(v.users, 'user') + ', ', link('#/everywhere', count(v.sessions, 'session')), ' on these nodes')]
	},

	async everywhere(p) {
		const v = await api('nodes/sessions', p)
		return () => [h('h1', 'Sessions of all nodes'), missing(v), sessionTable(v.sessions, atNode), v.next && h('p', link(to('#/everywhere', { cursor: v.next }), 'Next page'))]
	},

	async rooms(p) {
		const v = await api('rooms', p)
		return () => [h('h1', 'Rooms'), bar('#/rooms', h('label', 'Name', h('input', { name: 'q', value: p.get('q') ?? '' }))),
			table(v.rooms, (r) => r.engine + ' ' + r.name, { 'Room@': roomLink, Engine: (r) => text(r.engine), 'Members!': (r) => num(r.members) }),
			h('p.note', count(v.count, 'room') + ' with ' + count(v.members, 'member') + (v.whole ? '' : '; not all are listed'))]
	},

	async room(p) {
		const v = await api('room', p)
		return () => [h('h1', 'Room ', text(v.name)), h('p.note', count(v.members, 'member') + (v.members > v.listed.length ? ', the first of which are' : '')),
			table(v.listed, (m) => m.user + ' ' + m.conn, { 'User@': (m) => userLink(m.user), Session: (m) => (m.conn ? connLink(m.conn) : 'all') })]
	},

	async refused() {
		const v = await api('bans')
		return () => [h('h1', 'Who was not let in'), countTable(overview.notLetIn, 'Reason', (why) => why), h('h2', 'Banned addresses'),
			table(v.bans, (b) => b.engine + b.network, { 'Network@': (b) => link(to('#/sessions', { q: b.network }), b.network), Until: (b) => date(b.until), Why: (b) => b.reason, Engine: (b) => text(b.engine) }),
			!v.whole && h('p.note', 'There are more.')]
	},

	events: () => () => [h('h1', 'Events'),
		h('p', button(paused ? 'Go on' : 'Pause', () => { paused = !paused; draw(); paint() }), ' ', h('span.note', { id: 'lost' }, lost())),
		eventList()],
}

// ---- events

/** @type {EventSource | undefined} */
let source
let wanted = '' // the address of the stream
let paused = false, leftOut = 0, missed = false, painting = false
/** @type {UserEvent[]} those that have come and are not shown yet, the latest last */
let arrived = []
/** @type {UserEvent[]} those that are shown, the latest first */
let listed = []
const mostListed = 200
/** @type {Texts} */
const says = { connected: 'logged on', disconnected: 'ended', pushedOut: 'is pushed out', ignored: 'was refused: is online already', timedOut: 'fell silent', expired: 'was idle for too long', tagged: 'session tagged', userTagged: 'tagged' }

const lost = () => leftOut ? num(leftOut) + ' events were left out: more come than can be shown.' : missed ? 'Some events before are missing.' : ''

const eventList = () => h('ol.events', { id: 'events', 'data-own': true, 'data-key': wanted, 'aria-label': 'Events, the latest first' }, listed.map(eventItem))

/** @param {UserEvent} e */
const eventItem = (e) => h('li', at(e.at), h('b', userLink(e.user)), says[e.kind] ?? e.kind, e.why && [': ', codeLink(String(e.code), e.why)], e.by && [' by ', text(e.by)],
	(e.tag || e.old) && [' ', text(e.old), ' → ', text(e.tag)], e.session && [' ', e.kind === 'connected' ? connLink(e.session.conn) : '#' + e.session.conn, ' ', text(e.session.address)])

/** Opens the stream that the view wants, or none. A hidden page has none. */
function watch() {
	const kind = Object.keys(says).join(), { path, p } = view
	const where = path === 'events' ? to('api/v1/events', { kind }) : path === 'user' ? to('api/v1/events', { user: p.get('id'), kind }) : ''
	if (where !== wanted) [wanted, arrived, listed, leftOut, missed, paused] = [where, [], [], 0, false, false]
	if (where && !document.hidden && source?.url.endsWith(where) && source.readyState !== EventSource.CLOSED) return
	source?.close()
	source = undefined
	if (!where || document.hidden) return
	const mine = source = new EventSource(where)
	const miss = (atLeast = 0) => {
		leftOut += atLeast
		missed = true
		paint()
	}
	mine.onmessage = (m) => {
		arrived.push(JSON.parse(m.data))
		if (arrived.length > mostListed) { arrived.shift(); leftOut++ }
		paint()
	}
	mine.addEventListener('missed', (m) => miss(JSON.parse(m.data).leftOut))
	mine.onerror = () => { // the browser comes back by itself, unless it was refused
		if (mine.readyState !== EventSource.CLOSED) return
		miss(0)
		setTimeout(() => source === mine && watch(), 3000)
	}
}

/** Shows what has come, ten times a second and a part each time, so that the page stays quick. */
function paint() {
	if (painting || paused) return
	painting = true
	setTimeout(() => {
		painting = false
		const list = $('#events'), note = $('#lost'), fresh = arrived.splice(0, 50).reverse()
		listed = [...fresh, ...listed].slice(0, mostListed)
		if (note) note.textContent = lost()
		list?.prepend(...fresh.map(eventItem))
		while (list?.childElementCount > mostListed) list.lastElementChild.remove()
		if (arrived.length) paint()
	}, 100)
}

// ---- acts

/** @type {Ask} */
function ask(title, about, fields, label, act) {
	const note = h('p.note', { role: 'alert' }), go = h('button', label)
	const form = h('form', { onsubmit: async (e) => {
		e.preventDefault()
		go.disabled = true
		note.textContent = 'Waiting …'
		try {
			const says = await act(new FormData(form))
			dialog.close()
			if (says) toast(says)
			load(true)
		} catch (e) {
			note.textContent = e.message
			note.className = 'bad'
		}
		go.disabled = false
	} }, h('h2', title), h('p', about), fields, note, h('p', go, ' ', button('Cancel', () => dialog.close())))
	dialog.ariaLabel = title
	dialog.replaceChildren(form)
	dialog.showModal()
}

const bans = { 0: 'no time', 600: '10 minutes', 3600: '1 hour', 86400: '1 day', 604800: '1 week' }

/** @param {Victim} who @param {string} [ban] */
function askKick({ users, user = '', conn }, ban) {
	const title = ban ? 'Keep out' : 'Throw out'
	ask(title, users ? [count(users.length, 'user') + ': ', users.slice(0, 10).map((u, i) => [i ? ', ' : '', text(u)]), users.length > 10 && ', …']
		: ['User ', text(user), conn ? ', connection #' + conn + ' alone. A time counts for the user, on each device.' : !ban && ', all sessions'],
	[h('label', 'What the user is told', h('input', { name: 'text', maxlength: 300, autocomplete: 'off' })), h('label', 'Stays out for', select('ban', bans, ban))],
	title, async (written) => {
		const options = { text: String(written.get('text')), banSeconds: Number(written.get('ban')) }
		const all = users ? (await api('kick', {}, { users, ...options })).kicked : [conn ? await api('conns/{n}/kick', { n: conn }, options) : await api('users/kick', {}, { user, ...options })]
		/** @type {Counts} */
		const ends = {}
		const told = all.flatMap((k) => (k.error ? k.error : k.sessions.map((s) => (s.outcome === 'told' ? 'told, and ended' : s.outcome))))
		for (const what of told) ends[what] = (ends[what] ?? 0) + 1
		picked.clear()
		for (const box of main.querySelectorAll('td input')) box.checked = false
		return [users ? count(users.length, 'user') : text(all[0].user), ': ', parts(ends) || 'no session to end', all[0].missing && ', no answer from ' + all[0].missing.join(', '), all[0].until && '; stays out until ' + date(all[0].until)]
	})
}

const askSend = (user = '') => ask('Send', ['User ', text(user)],
	[h('label', 'As', select('kind', { ...(has('push') && { text: 'pushed text', notification: 'notification' }), ...(has('send') && { '': 'message' }) })),
		has('send') && h('label', 'Type', h('input', { name: 'type', type: 'number', value: 1 })), h('label', 'Text', h('input', { name: 'text', autocomplete: 'off' }))],
	'Send', async (written) => {
		const kind = /** @type {any} */ (written.get('kind')), body = { user, text: String(written.get('text')) }
		const v = kind ? await api('users/push', {}, { kind, ...body }) : await api('users/send', {}, { type: Number(written.get('type')), ...body })
		return [text(user), ': ' + v.outcome]
	})

const unban = (user = '') => api('users/unban', {}, { user }).then((v) => toast([text(user), v.banned ? ' may come back.' : ' was not banned.', missing(v)]), (e) => toast(e.message))

$('#mode').onclick = () => ask('Read only', 'You may look, and not act, without the token that the server has printed. It is kept until the page is closed.',
	h('label', 'Token', h('input', { name: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false' })), 'Use it', async (written) => {
		const before = token
		token = String(written.get('token')).trim()
		await status()
		if (mayAct()) return ''
		token = before
		throw new Error('This token allows nothing more.')
	})

$('#search').onsubmit = submit('#/sessions')
// "/" goes to the search, when it is let go, so that it is not written there.
document.onkeydown = document.onkeyup = (/** @type {any} */ e) => {
	if (e.key !== '/' || e.ctrlKey || e.metaKey || dialog.open || /INPUT|SELECT|TEXTAREA/.test(e.target.tagName)) return
	e.preventDefault()
	if (e.type === 'keyup') $('#search').q.select()
}

// ---- which view is shown

/** @type {View} */
let view = { path: '', p: new URLSearchParams(), draw: () => 'Loading …' }

const draw = () => patch(main, h('main', { id: 'main', tabindex: -1 }, h('div', { 'data-key': view.path + view.p },
	has('cluster') && !['nodes', 'everywhere'].includes(view.path) && h('p.note', 'Users, charts, searches and events here are those of one node. ', link('#/nodes', 'All nodes')), view.draw())))

/** Loads what the view shows, and draws it. again: it is shown already. */
async function load(again = false) {
	const mine = view
	try {
		const made = await (views[mine.path] ?? views[''])(mine.p)
		if (mine !== view) return
		if (overview) mine.draw = made
		draw()
		if (!again) main.focus({ preventScroll: true })
	} catch (e) {
		if (mine !== view) return
		const waits = e.status === 429 || e.status === 0 // another scan runs, or the server is away
		if (waits) setTimeout(() => mine === view && load(again), 1000)
		if (again && e.status !== 404) return
		mine.draw = () => [h('h1', waits ? 'Waiting …' : 'This cannot be shown'), h('p.bad', e.message), link('#/ended', 'Ended sessions')]
		draw()
	}
}

function route() {
	const [path, query] = location.hash.replace(/^#\/?/, '').split('?')
	view = { path, p: new URLSearchParams(query), draw: () => 'Loading …' }
	scrollTo(0, 0)
	picked.clear()
	document.title = [path && path[0].toUpperCase() + path.slice(1), view.p.get('id'), 'Rollcall'].filter(Boolean).join(' – ')
	for (const a of document.querySelectorAll('nav a')) a.ariaCurrent = a.getAttribute('href') === '#/' + path ? 'page' : null
	$('#search').q.value = view.p.get('q') ?? ''
	watch()
	load()
	if (!path) status()
}

addEventListener('hashchange', route)
document.onvisibilitychange = () => {
	watch()
	if (!document.hidden) { status(); load(true) }
}
setInterval(status, 2000)
setInterval(() => { if (!document.hidden && ['user', 'conn', 'nodes', 'room', 'refused'].includes(view.path)) load(true) }, 2000)
status().finally(route)
