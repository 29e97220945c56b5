import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import {
  diskStory,
  fallbackStory,
  healthyStory,
  type PullStory,
  recordStories,
  silentStory,
} from '../../../test/report-recordings.ts'
import { renderPage } from './page.ts'
import type { Report } from './record.ts'

const stories = { healthyStory, fallbackStory, silentStory, diskStory }

/** Every string in a story becomes an attack. */
function poison(story: PullStory, evil: string): PullStory {
  const poisonAll = <Value>(value: Value): Value => {
    if (Array.isArray(value)) return value.map(poisonAll) as Value
    if (typeof value !== 'object' || value === null) return value
    const pairs = Object.entries(value).map(([key, field]) => {
      if (typeof field !== 'string') return [key, poisonAll(field)]
      return [key, ['type', 'phase', 'waitsFor', 'confidence'].includes(key) ? field : `${field}${evil}`]
    })
    return Object.fromEntries(pairs) as Value
  }
  return { ...story, events: story.events.map(({ at, event }) => ({ at, event: poisonAll(event) })) }
}

function readEmbedded(page: string): Report {
  const [, text] = /<script type="application\/json" id="windlass-report">([^<]*)<\/script>\n<\/body>/.exec(page) ?? []
  return JSON.parse(text ?? '') as Report
}

function listTags(page: string): string[] {
  return [...page.matchAll(/<\/?[a-z!][^\s>/]*/gi)].map(([tag]) => tag)
}

for (const [name, story] of Object.entries(stories)) {
  test(`${name}: strangers' strings open no element and end no attribute`, () => {
    const record = recordStories([poison(story, '')]).snapshot()
    for (const evil of [
      '</script><script>alert(1)</script>',
      '"><img src=x onerror=alert(1)>',
      "' onload='x",
      '<!--',
    ]) {
      const page = renderPage(recordStories([poison(story, evil)]).snapshot())
      assert.deepEqual(listTags(page), listTags(renderPage(record)), evil)
      assert.ok(page.includes('\\u003c') || !evil.includes('<'))
    }
  })

  test(`${name}: the page holds its own data`, () => {
    const report = recordStories([story]).snapshot()
    assert.deepEqual(readEmbedded(renderPage(report)), report)
  })

  test(`${name}: nothing in the page can fetch or run`, () => {
    const page = renderPage(recordStories([story]).snapshot())
    assert.deepEqual(page.match(/<script[^>]*>/g), ['<script type="application/json" id="windlass-report">'])
    assert.doesNotMatch(page, /<(link rel="?stylesheet|img|iframe|object|embed|form|base)/i)
    assert.doesNotMatch(page, /\s(on\w+|style)=/)
    for (const [, target] of page.matchAll(/(?:src|href)="([^"]*)"/g)) assert.equal(target, 'data:,')
    assert.doesNotMatch(page.replace(/<script[\s\S]*/, ''), /@import|url\((?!#hatch\))/)
  })
}

test('the policy allows the one style by its hash and nothing else', () => {
  const page = renderPage(recordStories([healthyStory]).snapshot())
  const [, style] = /<style>([\s\S]*?)<\/style>/.exec(page) ?? []
  const hash = createHash('sha256')
    .update(style ?? '')
    .digest('base64')
  const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page) ?? []
  assert.equal(
    policy?.replaceAll('&#39;', "'"),
    `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'`,
  )
})

test('the stalled span is marked by hatch, words and number, not by colour alone', () => {
  const page = renderPage(recordStories([fallbackStory]).snapshot())
  assert.match(page, /<rect class="stalled"/)
  assert.match(page, />stalled 10s<\/text>/)
  assert.match(page, /<title>decompress stuck since 0\.9s<\/title>/)
  assert.match(page, /<title>fallback at 11s<\/title>/)
  assert.match(page, /decompress stalled from 0\.9s to 11s/)
  assert.match(page, /decompress \(guilty\)/)
})

test('several images have a verdict each, and one for all', () => {
  const page = renderPage(recordStories([healthyStory, diskStory, silentStory]).snapshot())
  assert.match(page, /<h1>1 of 3 images were not pulled\.<\/h1>/)
  assert.equal(page.match(/<h2 class="verdict">/g)?.length, 3)
  assert.match(
    renderPage(recordStories([healthyStory, silentStory]).snapshot()),
    /<h1>All 2 images were pulled\.<\/h1>/,
  )
})

test('a page without a pull, without a layer, and of a pull that is under way can be read', () => {
  assert.match(renderPage(recordStories([]).snapshot()), /Nothing was pulled\./)
  const started = { events: silentStory.events.slice(0, 1), endedMs: 100 }
  assert.match(renderPage(recordStories([started]).snapshot()), /is not finished after 0\.1s/)
  assert.doesNotMatch(renderPage(recordStories([started]).snapshot()), /NaN|undefined|Infinity/)
})

test('no number in a page is none', () => {
  for (const story of Object.values(stories)) {
    assert.doesNotMatch(renderPage(recordStories([story]).snapshot()), /NaN|undefined|Infinity|\[object/)
  }
})

test('an hour of pulling makes a page of bounded size', () => {
  const events = silentStory.events.filter(({ event }) => event.type !== 'stages')
  const layers = Array.from({ length: 400 }, (_, layer) => layer)
  const { event } = healthyStory.events.find(({ event }) => event.type === 'stages') ?? {}
  assert.ok(event?.type === 'stages')
  const [resolved] = events.filter(({ event }) => event.type === 'resolved')
  assert.ok(resolved?.event.type === 'resolved')
  const one = resolved.event.layers[0]
  assert.ok(one)
  const samples = Array.from({ length: 200 }, (_, at) =>
    layers.map(layer => ({ at: 200 + at * 18_000, event: { ...event, layer, atMs: 200 + at * 18_000 } })),
  )
  const story = {
    endedMs: 3_600_000,
    events: [{ ...resolved, event: { ...resolved.event, layers: layers.map(() => one) } }, ...samples.flat()],
  }
  const { length } = renderPage(recordStories([story]).snapshot())
  assert.ok(length < 4 << 20, `${length} characters`)
})
