// The page of live users. It makes elements and never HTML from text, so that an ID is shown and never taken for markup. The types of what
// the server answers are those of openapi.json.

/** @typedef {Node | string | number | false | null | undefined | Child[]} Child */
/** @typedef {{ [handler: `on${string}`]: (e: any) => unknown, [name: string]: any }} Attributes */
/** @typedef {[name: string, numbers: number[], behind: string]} Line */

/** @type {(selector: string) => any} */
const $ = (selector) => document.querySelector(selector)
const main = $('#main'), dialog = $('#ask')

// ---- elements

/**
 * Makes an element. Its name may have classes: "p.note". Attributes that are undefined or false are left out, and so are children.
 * @param {string} name @param {Attributes | Child} [attributes] @param {...Child} children @returns {any}
 */
function h(name, attributes, ...children) {
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

const handlers = ['onclick', 'onchange', 'onsubmit', 'oninput', 'onpointermove', 'onpointerleave']

/**
 * Makes what is shown like what it is to be, and keeps the elements that may stay: with the focus, and what is written and ticked.
 * @param {any} old @param {any} now
 */
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

/**
 * Text of others: apart from what is around it, and with its invisible characters visible.
 * @param {string} [s]
 */
function text(s = '') {
	const marks = [...s.matchAll(hidden)].map(([c]) => h('span.esc', 'U+' + c.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')))
	return h('bdi', s.split(hidden).map((part, i) => [part, marks[i]]))
}

/**
 * An address of the page or of the API. Parameters without a value are left out.
 * @param {string} path @param {URLSearchParams | Record<string, any>} [parameters]
 */
function to(path, parameters = {}) {
	const all = parameters instanceof URLSearchParams ? parameters : new URLSearchParams(Object.entries(parameters).filter(([, v]) => v))
	return path + (all.size ? '?' + all : '')
}

/** @param {string} href @param {...Child} children */
const link = (href, ...children) => h('a', { href }, ...children)
/** @param {Child} label @param {(e: any) => unknown} onclick @param {string} [kind] */
const button = (label, onclick, kind = '') => h('button' + kind, { type: 'button', onclick }, label)
/** @param {string} id */
const userLink = (id) => link(to('#/user', { id }), text(id))
/** @param {number} n @param {Child} [label] */
const connLink = (n, label = '#' + n) => link(to('#/conn', { n }), label)
/** @param {string} code @param {Child} [label] */
const codeLink = (code, label = code) => link(to('#/ended', { code }), label)

/**
 * A table. heads are names, each with "!" after it for numbers, or "@" for users; rows are [key, ...cells]. A phone shows a card for each row.
 * @param {string[]} heads @param {[string | number, ...Child[]][]} rows
 */
function table(heads, rows) {
	const of = { '!': 'n', '@': 'user' }
	const columns = heads.map((s) => ({ 'data-label': s.replace(/[!@]$/, ''), class: of[/** @type {'!'} */ (s.at(-1))] }))
	return h('div.scroll', h('table.cards', h('thead', h('tr', columns.map((c) => h('th', { class: c.class }, c['data-label'])))),
		h('tbody', rows.map(([key, ...cells]) => h('tr', { 'data-key': key }, cells.map((c, i) => h('td', columns[i], c)))))))
}

/** @param {...([name: string, Child] | Child)} rows */
const definitions = (...rows) => h('dl', rows.map((row) => Array.isArray(row) && [h('dt', row[0]), h('dd', row[1] || 'none')]))

// ---- numbers and times

/** @param {number} n */
function num(n) {
	if (n >= 1e6) return (n / 1e6).toFixed(n < 1e7 ? 2 : 1) + ' M'
	return n.toLocaleString('en', { maximumFractionDigits: n < 10 ? 2 : n < 100 ? 1 : 0 })
}
/** @param {number} n */
function size(n) {
	const power = n < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(n) / 3))
	n /= 1000 ** power
	return n.toFixed(power && n < 100 ? 1 : 0) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB'][power]
}
/** @param {number} s */
function span(s) {
	for (const [unit, name] of /** @type {[number, string][]} */ ([[86400, 'd'], [3600, 'h'], [60, 'm']])) if (s >= 2 * unit) return Math.floor(s / unit) + ' ' + name
	return Math.max(0, Math.round(s)) + ' s'
}
let skew = 0 // of this machine's clock against the server's
/** @param {string} t */
const since = (t) => span((Date.now() + skew - Date.parse(t)) / 1000)
/** @param {string} t */
const at = (t) => h('time', { datetime: t, title: new Date(t).toLocaleString() }, new Date(t).toLocaleTimeString())
/** @param {number} n @param {string} name */
const count = (n, name) => num(n) + ' ' + name + (n === 1 ? '' : 's')
/** What there is of each kind: "3 open, 1 closing". @param {Record<string, number | undefined>} counts */
const parts = (counts) => Object.entries(counts).filter(([, n]) => n).map(([name, n]) => num(n ?? 0) + ' ' + name).join(', ')
/** @param {number} toHandle @param {number} toSend */
const waits = (toHandle, toSend) => size(toHandle) + ' to be handled, ' + size(toSend) + ' to be sent'
/** @param {Traffic} t */
const flow = (t) => num(t.messages) + ' · ' + size(t.bytes)
/** @param {Traffic} t */
const trafficText = (t) => count(t.messages, 'message') + ', ' + size(t.bytes)

// ---- the API

let token = ''
class Fault extends Error {
	/** @param {number} status @param {string} message */
	constructor(status, message) {
		super(message)
		this.status = status
	}
}

/**
 * Asks the API; with a body it acts.
 * @template {keyof Answers} P @param {P} path @param {Queries[P] | URLSearchParams} [query] @param {Bodies[P]} [body] @returns {Promise<Answers[P]>}
 */
async function api(path, query, body) {
	/** @type {Record<string, string>} */
	const headers = token ? { Authorization: 'Bearer ' + token } : {}
	if (body) Object.assign(headers, { 'Content-Type': 'application/json', 'Rollcall-Admin': '1' })
	const where = 'api/v1/' + path.replace('{n}', /** @type {any} */ (query)?.n)
	const r = await fetch(to(where, query), { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body) }).catch(() => {
		throw new Fault(0, 'The server does not answer. Trying again …')
	})
	const v = await r.json().catch(() => ({ error: 'the answer cannot be read' }))
	if (!r.ok) throw new Fault(r.status, v.error)
	return v
}

/** @param {string} s */
function banner(s) {
	const e = $('#banner')
	if (e.textContent !== s) e.textContent = s
	e.hidden = !s
}
let toasts = 0
/** @param {Child} says */
function toast(says) {
	const n = ++toasts
	$('#toast').replaceChildren(h('span', says))
	setTimeout(() => n === toasts && $('#toast').replaceChildren(), 8000)
}

// ---- the state of the server, every two seconds

/** @type {Overview} */
let overview
/** @type {Sessions | undefined} the sessions in trouble, asked for so often that the scans take a fiftieth of the time */
let trouble
let troubleAt = 0
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
		trouble = await api('sessions', { trouble: '1', limit: 100 }).catch(() => trouble)
		if (!view.path) draw()
	} catch (/** @type {any} */ e) {
		banner(e.status ? 'The server refuses: ' + e.message : e.message)
	}
}

// ---- charts

/** @type {'minute' | 'hour' | undefined} which was chosen */
let range
let back = 0 // where all charts are read, in steps from the end
/** @param {number} steps */
const read = (steps) => {
	back = Math.max(0, Math.round(steps))
	draw()
}
/** When the charts are read. @param {Series} s */
const readAt = (s) => (back ? new Date(Date.parse(s.end) - back * s.step * 1000).toLocaleTimeString() : 'now')

/** @param {string} title @param {Line[]} lines @param {Series} s @param {(n: number) => string} format */
function chart(title, lines, s, format) {
	const steps = s.step > 1 ? 120 : 60, n = lines[0][1].length, i = n - 1 - back
	const highest = Math.max(1, ...lines.flatMap((l) => l[1])), power = 10 ** Math.floor(Math.log10(highest))
	const most = power * ([1, 2, 5].find((f) => f * power >= highest) ?? 10)
	/** @param {number} i */
	const x = (i) => 600 - ((n - 1 - i) * 600) / (steps - 1)
	const says = lines.map(([name, v]) => name + ' ' + (n ? format(v[n - 1]) + ' now, at most ' + format(Math.max(...v)) : 'not known yet')).join('; ')
	return h('section.card', { 'data-key': title }, h('h2', title),
		h('div.plot', {
			role: 'img', 'aria-label': title + ', last ' + span(steps * s.step) + ': ' + says,
			onpointermove: (e) => {
				const box = e.currentTarget.getBoundingClientRect()
				read((1 - (e.clientX - box.left) / box.width) * (steps - 1))
			},
			onpointerleave: () => read(0),
		},
		h('svg', { viewBox: '0 0 600 100', preserveAspectRatio: 'none', 'aria-hidden': true },
			[0, 50].map((y) => h('line', { x2: 600, y1: y, y2: y })), back > 0 && h('line', { x1: x(i), x2: x(i), y2: 100 }),
			lines.map(([, v], k) => h('polyline.s' + k, { points: v.map((y, j) => x(j).toFixed(1) + ',' + (100 - (y * 100) / most).toFixed(1)).join(' ') }))),
		h('span', n > 1 ? format(most) : 'not known yet')),
		h('p.times', h('span', span(steps * s.step) + ' ago'), h('span', readAt(s))),
		h('ul.legend', lines.map(([name, v, behind], k) => h('li', h('svg', { viewBox: '0 0 27 8', 'aria-hidden': true }, h('polyline.s' + k, { points: '0,4 27,4' })),
			link(behind, name), ' ', h('b', i in v ? format(v[i]) : '–')))))
}

// ---- the views

/** @param {Record<string, number>} counts */
const add = (counts) => Object.values(counts).reduce((a, b) => a + b, 0)
/** The mean of the last ten seconds: a rate that a person can read. @param {number[]} a */
const mean = (a) => add(/** @type {any} */ (a.slice(-10))) / Math.max(1, Math.min(10, a.length))
/** The sum of several lines. @param {number[][]} all @param {number[]} like */
const sum = (all, like) => like.map((_, i) => all.reduce((a, v) => a + v[i], 0))

/** @param {string} name @param {string} value @param {string} href @param {string} below @param {boolean} [bad] */
const tile = (name, value, href, below, bad) => h('li', h('a', { href, class: bad && 'bad' }, h('span', name), h('b', value), h('span', below)))

/** The refusals of all parts, by part and reason. */
function refusals() {
	/** @type {Record<string, number>} */
	const all = {}
	/** @param {string} part @param {Record<string, number>} [counts] */
	const take = (part, counts = {}) => Object.entries(counts).forEach(([why, n]) => (all[part + why] = (all[part + why] ?? 0) + n))
	for (const e of overview.engines) {
		take('connection: ', e.refused)
		take('log-on: ', e.logons?.refused)
	}
	if (!overview.engines.length) take('log-on: ', overview.refused)
	return all
}

/** @param {Record<string, number>} counts @param {string} head @param {(name: string) => Child} shown @param {string} none */
function countTable(counts, head, shown, none) {
	const rows = Object.entries(counts).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1])
	return rows.length ? table([head, 'Since the start!'], rows.map(([name, n]) => [name, shown(name), num(n)])) : h('p.note', none)
}

/** @param {Engine} e */
function engineCard(e) {
	const faults = parts({ 'handler panics': e.handlerPanics, 'handler errors': e.handlerErrors, 'stuck event loops': e.stalls, 'authenticator panics': e.logons?.authenticatorPanics })
	return h('section.card', { 'data-key': 'engine ' + e.name }, h('h2', 'Engine ', text(e.name)), definitions(
		['Listens on', e.addrs.join(', ')],
		['Connections', parts({ open: e.open, 'let in': e.bound, 'without a first message': e.accepted, 'being checked': e.verifying, 'in a handshake': e.handshaking, 'waiting for a handshake': e.handshakesWaiting, closing: e.closing })],
		['Logging on', parts({ users: e.logons?.loggingOn, 'being authenticated': e.logons?.authenticating })],
		['Since the start', parts({ accepted: e.acceptedTotal, 'sent nothing': e.probes, 'datagrams lost': e.lost })],
		['By transport', Object.keys(e.transports).sort().map((via) => [link(to('#/sessions', { via }), via), ' ' + num(e.transports[via]) + ' '])],
		['Waits', waits(e.inboundQueue, e.outboundQueue)],
		['Banned addresses', num(e.bans)],
		['Faults', faults && h('span.bad', '⚠ ' + faults)]))
}

/** @param {Session} s */
const troubleMarks = (s) => (s.trouble ?? []).map((t) => h('span.trouble', { dropped: 'lost messages', waiting: 'slow', silent: 'silent' }[t] ?? t))

/** @type {Map<number, string>} user IDs by connection */
const picked = new Map()

/** @param {Session} s */
const pick = (s) => h('input', { type: 'checkbox', 'aria-label': 'Pick ' + s.user, onchange: (e) => {
	picked.delete(s.conn)
	if (e.target.checked) picked.set(s.conn, s.user)
	draw()
} })

/** @param {Session[]} all @param {boolean} [picks] */
function sessionTable(all, picks = false) {
	return table([...(picks ? ['Pick'] : []), 'User@', 'Address', 'Via', 'Device!', 'Online for!', 'Last message!', 'In!', 'Out!', 'Dropped!', 'Waits!', 'Trouble'], all.map((s) => {
		const waits = (s.waitingIn ?? 0) + (s.waitingOut ?? 0)
		return [s.conn, ...(picks ? [pick(s)] : []), [userLink(s.user), [s.tag, s.userTag].map((t) => t && [' ', h('span.tag', text(t))])],
			connLink(s.conn, text(s.address || '#' + s.conn)), s.via, s.device, since(s.logonTime), since(s.lastMessage) + ' ago', flow(s.in), flow(s.out),
			s.dropped.messages > 0 && num(s.dropped.messages), waits > 0 && size(waits), troubleMarks(s)]
	}))
}

/** @param {Ended[]} all */
function endedTable(all) {
	if (!all.length) return h('p.note', 'None is remembered.')
	return table(['User@', 'Ended', 'Code', 'Address', 'Via', 'Was online for!', 'In!', 'Out!', 'Dropped!'], all.map((s) => [s.conn, userLink(s.user),
		[at(s.at), ', ' + since(s.at) + ' ago'], codeLink(String(s.code), s.why + ' (' + s.code + ')'), text(s.address || '#' + s.conn), s.via,
		span((Date.parse(s.at) - Date.parse(s.logonTime)) / 1000), flow(s.in), flow(s.out), s.dropped.messages > 0 && num(s.dropped.messages)]))
}

/** @param {Session[]} all */
const fieldsOf = (all) => all.map((s) => s.fields && [h('h2', 'Fields of ', connLink(s.conn)), definitions(...Object.entries(s.fields).map(([k, t]) => [k, text(t)]))])

/** @type {Record<string, string>} */
const tops = { in: 'received most', out: 'sent most', dropped: 'lost most messages', waiting: 'most waits', age: 'longest online' }

/**
 * A select with a name for each value.
 * @param {Attributes} attributes @param {Record<string, string>} names @param {string} [chosen]
 */
const select = (attributes, names, chosen) => h('select', attributes, Object.entries(names).map(([value, name]) => h('option', { value, selected: value === chosen }, name)))

/**
 * The views by the first part of the address. Each loads what it shows, and returns how it is drawn.
 * @type {Record<string, (p: URLSearchParams) => (() => Child) | Promise<() => Child>>}
 */
const views = {
	'': () => () => {
		const o = overview, m = o.minute
		const shown = range ?? (o.hour.users.length >= 10 ? 'hour' : 'minute'), s = o[shown]
		const ends = Object.entries(s.ends).sort((a, b) => Math.max(...b[1]) - Math.max(...a[1])).map(([code, v]) => /** @type {Line} */ ([code, v, to('#/ended', { code })]))
		if (ends.length > 5) ends.push(['other codes', sum(ends.splice(4).map((l) => l[1]), s.logons), '#/ended'])
		if (!ends.length) ends.push(['ends', sum([], s.logons), '#/ended'])
		const bad = trouble?.sessions ?? [], dropped = mean(m.dropped)
		/** @param {'minute' | 'hour'} time */
		const choice = (time) => h('button', { type: 'button', 'aria-pressed': String(shown === time), onclick: () => { range = time; read(0) } }, 'Last ' + time)
		return [h('h1', 'Overview'),
			h('ul.tiles',
				tile('Users online', num(o.users), '#/sessions', count(o.sessions, 'session')),
				tile('Log-ons', num(mean(m.logons)) + '/s', '#/events', num(o.logons) + ' in all'),
				tile('Ends', num(mean(sum(Object.values(m.ends), m.logons))) + '/s', '#/ended', num(add(o.ended)) + ' in all'),
				tile('Messages in', num(mean(m.inMessages)) + '/s', '#/sessions?top=in', size(mean(m.inBytes)) + '/s'),
				tile('Messages out', num(mean(m.outMessages)) + '/s', '#/sessions?top=out', size(mean(m.outBytes)) + '/s'),
				tile('Waits for slow clients', size(o.engines.reduce((a, e) => a + e.outboundQueue, 0)), '#/sessions?top=waiting', dropped ? num(dropped) + ' dropped/s' : 'nothing is dropped', dropped > 0),
				tile('In trouble', trouble ? num(bad.length) + (trouble.whole ? '' : '+') : '–', '#/sessions?trouble=1', 'sessions', bad.length > 0)),
			h('p', choice('minute'), ' ', choice('hour'), ' ', h('label', h('input', { type: 'range', 'aria-label': 'Read the charts at', 'aria-valuetext': readAt(s), max: 0, min: 1 - s.users.length, value: -back,
				oninput: (e) => read(-e.target.value) }), ' Read at: ' + readAt(s))),
			h('div.charts',
				chart('Online', [['users', s.users, '#/sessions'], ['sessions', s.sessions, '#/sessions']], s, num),
				chart('Log-ons a second', [['log-ons', s.logons, '#/events'], ['refused', s.refused, '#/refused']], s, num),
				chart('Ends a second', ends, s, num),
				chart('Messages a second', [['in', s.inMessages, '#/sessions?top=in'], ['out', s.outMessages, '#/sessions?top=out'], ['dropped', s.dropped, '#/sessions?top=dropped']], s, num),
				chart('Bytes a second', [['in', s.inBytes, '#/sessions?top=in'], ['out', s.outBytes, '#/sessions?top=out']], s, size),
				chart('Waits for slow clients', [['bytes', s.waiting, '#/sessions?top=waiting']], s, size)),
			h('h2', 'Who is in trouble'),
			!trouble ? h('p.note', 'Not known yet.') : !bad.length ? h('p.good', '✓ No session has lost messages, is slow or is silent.')
				: [sessionTable(bad.slice(0, 5)), h('p', link('#/sessions?trouble=1', 'All in trouble'))],
			h('div.charts',
				h('section.card', h('h2', 'Why sessions have ended'), countTable(o.ended, 'Code', codeLink, 'No session has ended.')),
				h('section.card', h('h2', 'Who was not let in'), countTable(refusals(), 'Reason', (why) => link('#/refused', why), 'No one was refused.'))),
			o.engines.map(engineCard)]
	},

	async sessions(p) {
		const v = /** @type {Search} */ (await api('sessions', p))
		const q = p.get('q'), order = p.get('top') ?? ''
		/** @param {string} label @param {string} name @param {string} [type] */
		const field = (label, name, type = 'text') => h('label', label, h('input', { name, value: p.get(name) ?? '', type, min: 0, autocomplete: 'off' }))
		/** @param {SubmitEvent} e */
		const onsubmit = (e) => {
			e.preventDefault()
			const all = Object.fromEntries(new FormData(/** @type {HTMLFormElement} */ (e.currentTarget)))
			location.hash = to('#/sessions', all.top ? { top: all.top } : all)
		}
		const next = new URLSearchParams(p)
		next.set('cursor', v.next)
		return () => {
			const users = [...new Set(picked.values())]
			return [h('h1', q ? ['Search for ', text(q)] : order ? 'Sessions: ' + (tops[order] ?? order) : p.get('trouble') ? 'Sessions in trouble' : 'Sessions'),
				q === null && h('form.bar', { onsubmit, 'data-key': 'filters' + p }, h('label', 'Order', select({ name: 'top' }, { '': 'none: all, by pages', ...tops }, order)),
					field('Device class', 'device', 'number'), field('Via', 'via'), field('Tag', 'tag'), field('Without a message for (s)', 'idle', 'number'),
					h('label.check', h('input', { type: 'checkbox', name: 'trouble', value: 1, checked: p.has('trouble') }), 'in trouble'),
					h('button', 'Show'), button('Refresh', () => load(true))),
				v.exact && h('p', 'This very user is online: ', h('b', userLink(v.exact.user)), ', ' + count(v.exact.sessions.length, 'session')),
				q !== null && !v.exact && h('p', 'No user with exactly this ID is online. ', link(to('#/user', { id: q }), 'Show how it ended, or lift a ban')),
				mayAct() && users.length > 0 && h('p', button('Throw out ' + users.length + ' picked …', () => askKick({ users }), '.danger')),
				v.sessions.length > 0 && sessionTable(v.sessions, mayAct()),
				h('p.note', count(v.sessions.length, 'session'), !v.next && !order && (v.whole ? ', which is all' : '; there are more, or not all could be looked at in time: ask for less'),
					v.visited > 0 && ', of ' + num(v.visited) + ' looked at in ' + num(v.took) + ' ms'),
				v.next && h('p', link(to('#/sessions', next), v.sessions.length ? 'Next page' : 'Go on looking'))]
		}
	},

	async user(p) {
		const id = p.get('id') ?? '', v = await api('user', { id })
		return () => [h('h1', 'User ', text(id)),
			definitions(['State', v.online ? h('span.good', '● online for ' + since(v.since ?? '')) : h('span.bad', '○ offline')], v.online && ['Received', trafficText(v.in)],
				v.online && ['Sent', trafficText(v.out)], v.dropped.messages > 0 && ['Dropped', h('span.bad', trafficText(v.dropped))], v.tag && ['Tag', text(v.tag)]),
			mayAct() && h('p', v.online ? button('Throw out …', () => askKick({ user: id }), '.danger') : button('Keep out …', () => askKick({ user: id }, '3600')), ' ',
				button('Lift a ban', () => unban(id))),
			v.sessions.length > 0 && [h('h2', 'Sessions'), sessionTable(v.sessions)],
			fieldsOf(v.sessions), h('h2', 'Events'), eventList(), h('h2', 'How sessions have ended'), endedTable(v.ended)]
	},

	async conn(p) {
		const n = Number(p.get('n')), v = await api('conns/{n}', { n }).catch((e) => {
			if (e.status !== 404) throw e
		})
		if (!v) return () => [h('h1', 'Connection #' + n), h('p', 'It is not open any more. ', link('#/ended', 'Ended sessions'))]
		const s = v.session
		return () => [h('h1', 'Connection #' + n),
			definitions(['User', v.user && userLink(v.user)], ['Address', v.address && text(v.address)], ['Via', v.via], v.engine && ['Engine', text(v.engine)],
				v.tls && ['TLS', text([v.tls.version, v.tls.cipher, v.tls.protocol, v.tls.serverName, v.tls.certificate].filter(Boolean).join(', '))],
				['Waits', waits(v.waitingIn, v.waitingOut)]),
			s && [h('p', 'Last sign of life: ' + since(s.lastActive) + ' ago'), sessionTable([s]), fieldsOf([s]), mayAct() && h('p', button('Throw this session out …', () => askKick({ user: v.user, conn: n }), '.danger'))]]
	},

	async ended(p) {
		const code = p.get('code') ?? '', v = await api('closed', { code, limit: 200 })
		const codes = [...new Set([code, '', ...Object.keys(overview?.ended ?? {})])].sort()
		return () => [h('h1', 'Ended sessions'),
			h('div.bar', h('label', 'Code', select({ onchange: (e) => { location.hash = to('#/ended', { code: e.target.value }) } }, Object.fromEntries(codes.map((c) => [c, c || 'any'])), code)),
				button('Refresh', () => load(true))),
			endedTable(v.closed), h('p.note', v.whole ? 'These are all that are remembered.' : 'The last ' + v.closed.length + '.')]
	},

	refused: () => () => [h('h1', 'Who was not let in'), h('p.note', 'By reason, since the start. The log of the server has the addresses.'),
		countTable(refusals(), 'Reason', (why) => why, 'No one was refused.')],

	events: () => () => [h('h1', 'Events'),
		h('p', button(paused ? 'Go on' : 'Pause', () => { paused = !paused; draw() }), ' ',
			h('span.note', leftOut ? num(leftOut) + ' events were left out: more come than can be shown.' : missed && 'Some events before are missing.')),
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
/** @type {Record<string, string>} */
const says = { connected: 'logged on', disconnected: 'ended', pushedOut: 'is pushed out', ignored: 'was refused: is online already', timedOut: 'fell silent', expired: 'was idle for too long', tagged: 'session tagged', userTagged: 'tagged' }

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
	/** @param {number} n how many at least */
	const miss = (n) => {
		leftOut += n
		missed = true
		if (view.path === 'events') draw()
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

/** Shows what has come, once for each picture of the screen. */
function paint() {
	if (painting || paused) return
	painting = true
	requestAnimationFrame(() => {
		painting = false
		const fresh = arrived.reverse()
		arrived = []
		listed = [...fresh, ...listed].slice(0, mostListed)
		const list = $('#events')
		if (!list) return
		list.prepend(...fresh.map(eventItem))
		while (list.childElementCount > mostListed) list.lastElementChild.remove()
	})
}

// ---- acts

/**
 * Asks for something in the dialog. act gets what was written, and returns what is said then; its error is shown in the dialog.
 * @param {string} title @param {Child} about @param {Child} fields @param {string} label @param {(written: FormData) => Promise<Child>} act
 */
function ask(title, about, fields, label, act) {
	const note = h('p.note', { role: 'alert' }), go = h('button', label)
	const form = h('form', { onsubmit: async (e) => {
		e.preventDefault()
		go.disabled = true
		note.textContent = 'Waiting for the answer …'
		try {
			const says = await act(new FormData(form))
			dialog.close()
			if (says) toast(says)
			load(true)
		} catch (/** @type {any} */ e) {
			note.textContent = e.message
		}
		go.disabled = false
	} }, h('h2', title), h('p', about), fields, note, h('p', go, ' ', button('Cancel', () => dialog.close())))
	dialog.ariaLabel = title
	dialog.replaceChildren(form)
	dialog.showModal()
}

const bans = { 0: 'no time: may come back at once', 60: '1 minute', 600: '10 minutes', 3600: '1 hour', 86400: '1 day', 604800: '1 week' }

/** @param {{ users?: string[], user?: string, conn?: number }} who @param {string} [ban] */
function askKick({ users, user = '', conn }, ban) {
	ask('Throw out', users ? [count(users.length, 'user') + ': ', users.slice(0, 10).map((u, i) => [i ? ', ' : '', text(u)]), users.length > 10 && ', …']
		: ['User ', text(user), conn ? ', connection #' + conn + ' alone. A time counts for the user, on each device.' : ', all sessions'],
	[h('label', 'What the user is told', h('input', { name: 'text', maxlength: 300, autocomplete: 'off' })), h('label', 'Stays out for', select({ name: 'ban' }, bans, ban))],
	'Throw out', async (written) => {
		const options = { text: String(written.get('text')), banSeconds: Number(written.get('ban')) }
		const all = users ? (await api('kick', {}, { users, ...options })).kicked : [conn ? await api('conns/{n}/kick', { n: conn }, options) : await api('users/kick', {}, { user, ...options })]
		const failed = all.filter((k) => k.error).length
		/** @type {Record<string, number>} */
		const ends = {}
		for (const { outcome } of all.flatMap((k) => k.sessions)) ends[outcome] = (ends[outcome] ?? 0) + 1
		picked.clear()
		document.querySelectorAll('main [type=checkbox]').forEach((/** @type {any} */ c) => { c.checked = false })
		return [users ? count(users.length, 'user') : text(all[0].user), ': ', Object.entries(ends).map(([o, n]) => count(n, 'session') + ' ' + (o === 'told' ? 'told, and ended' : o)).join(', ') || 'no session to end',
			failed > 0 && ', ' + failed + ' not online', all[0].until && '; stays out until ' + new Date(all[0].until).toLocaleString()]
	})
}

/** @param {string} user */
const unban = (user) => api('users/unban', {}, { user }).then((v) => toast([text(user), v.banned ? ' may come back.' : ' was not banned.']), (e) => toast(e.message))

$('#mode').onclick = () => ask('Read only', 'You may look, and not throw users out. If the server has printed a token for this page, enter it here. It is kept until the page is closed.',
	h('label', 'Token', h('input', { name: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false' })), 'Use it', async (written) => {
		const before = token
		token = String(written.get('token')).trim()
		await status()
		if (mayAct()) return ''
		token = before
		throw new Error('This token allows nothing more.')
	})

$('#search').onsubmit = (/** @type {SubmitEvent} */ e) => {
	e.preventDefault()
	location.hash = to('#/sessions', { q: $('#search').q.value })
}
// "/" goes to the search, when it is let go: the character is not to be written there.
/** @param {any} e */
const isSlash = (e) => e.key === '/' && !e.ctrlKey && !e.metaKey && !/^(INPUT|SELECT)$/.test(e.target.tagName) && !dialog.open
document.onkeydown = (e) => isSlash(e) && e.preventDefault()
document.onkeyup = (e) => isSlash(e) && $('#search').q.select()

// ---- which view is shown

/** @type {{ path: string, p: URLSearchParams, draw: () => Child }} */
let view = { path: '', p: new URLSearchParams(), draw: () => 'Loading …' }

const draw = () => patch(main, h('main', { id: 'main', tabindex: -1 }, h('div', { 'data-key': view.path + view.p }, view.draw())))

/** Loads what the view shows, and draws it. @param {boolean} [again] whether it is shown already */
async function load(again) {
	const mine = view
	try {
		const made = await (views[mine.path] ?? (() => () => [h('h1', 'There is no such view'), link('#/', 'Overview')]))(mine.p)
		if (mine !== view) return
		if (overview) mine.draw = made
		draw()
		if (!again) main.focus({ preventScroll: true })
	} catch (/** @type {any} */ e) {
		if (mine !== view) return
		const waits = e.status === 429 || e.status === 0 // another scan runs, or the server is away
		if (waits) setTimeout(() => mine === view && load(again), 1000)
		if (again) return
		mine.draw = () => waits ? e.status ? 'Another look at all sessions is running. Waiting for it …' : e.message : [h('h1', 'This cannot be shown'), h('p.bad', e.message)]
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
$('.skip').onclick = (/** @type {Event} */ e) => { e.preventDefault(); main.focus() }
document.onvisibilitychange = () => {
	watch()
	if (!document.hidden) { status(); load(true) }
}
setInterval(status, 2000)
setInterval(() => { if (!document.hidden && ['user', 'conn'].includes(view.path)) load(true) }, 2000)
status().finally(route)
