(() => {
  // What a screen reader, a keyboard and eyes need, as far as a program can tell. The result is what is wrong; '' for nothing.
  const faults = []
  const seen = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0
  const name = (e) => (e.getAttribute('aria-label') || [...(e.labels ?? [])].map((l) => l.textContent).join('') || e.textContent || '').trim()
  const show = (e) => e.outerHTML.slice(0, 90)
  for (const e of document.querySelectorAll('a, button, input, select, [tabindex="0"]')) if (seen(e) && !name(e)) faults.push('no name: ' + show(e))
  for (const e of document.querySelectorAll('[role=img], dialog')) if (!e.hasAttribute('aria-label') && !e.hasAttribute('aria-labelledby')) faults.push('no label: ' + show(e))
  if (document.querySelectorAll('h1').length !== 1) faults.push('not one h1')
  if (document.documentElement.lang !== 'en') faults.push('no language')
  const ids = [...document.querySelectorAll('[id]')].map((e) => e.id)
  if (new Set(ids).size !== ids.length) faults.push('an id twice')
  const parse = (s) => s.match(/[\d.]+/g).map(Number)
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0)
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor)
      if (c.length < 4 || c[3] > 0) return c
    }
    return [255, 255, 255]
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement
    if (!texts.currentNode.data.trim() || !seen(e) || e.closest('noscript')) continue
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x)
    if ((a + 0.05) / (b + 0.05) < 4.5) faults.push('contrast ' + ((a + 0.05) / (b + 0.05)).toFixed(1) + ': ' + show(e))
  }
  for (const e of document.querySelectorAll('th, td')) if (e.closest('table') && !e.closest('table').querySelector('th')) faults.push('a table without heads')
  return faults.slice(0, 5).join('; ')
})()
