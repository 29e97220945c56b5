import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { renderPage } from '../../src/cli/report/page.ts'
import type { Report } from '../../src/cli/report/record.ts'
import { plantBroken } from '../broken-decompressors/plant.ts'
import {
  diskStory,
  fallbackStory,
  healthyStory,
  type PullStory,
  recordStories,
  silentStory,
} from '../report-recordings.ts'
import { type Chromium, startChromium } from '../testbed/chromium.ts'
import { run, runCommand, waitUntil } from '../testbed/command.ts'
import { openLoopFilesystem } from '../testbed/loop-filesystem.ts'
import { startProxy } from '../testbed/proxy.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'
import { openWindlass, windlassProgram } from '../testbed/windlass.ts'

let chromium: Chromium
let directory: string
let bed: Testbed

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'windlass-report-'))
  chromium = await startChromium()
  bed = await openTestbed()
})
after(async () => {
  await bed?.[Symbol.asyncDispose]()
  await chromium?.[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
})

async function writePage(name: string, stories: readonly PullStory[]): Promise<string> {
  const path = join(directory, `${name}.html`)
  await writeFile(path, renderPage(recordStories(stories).snapshot()))
  return pathToFileURL(path).href
}

async function readReport(path: string): Promise<Report> {
  return JSON.parse(await readFile(path, 'utf8')) as Report
}

const stories = { healthyStory, fallbackStory, silentStory, diskStory }

for (const [name, story] of Object.entries(stories)) {
  for (const scheme of ['light', 'dark'] as const) {
    test(`${name}: in a browser, ${scheme}, the page asks for nothing, complains about nothing and fits any width`, async () => {
      const url = await writePage(name, [story])
      for (const width of [360, 1200]) {
        const page = await chromium.open({ url, width, scheme })
        assert.deepEqual(page.requests, [url])
        assert.deepEqual(page.complaints, [])
        assert.equal(await page.evaluate('document.documentElement.scrollWidth'), width)
        const background = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
        assert.equal(background, scheme === 'light' ? 'rgb(251, 251, 249)' : 'rgb(21, 24, 27)')
        assert.equal((await page.screenshot()).subarray(1, 4).toString(), 'PNG')
      }
    })
  }
}

test('all text stands out from what is behind it by 4.5 to 1 at least, light and dark', async () => {
  const url = await writePage('contrast', [fallbackStory, diskStory])
  for (const scheme of ['light', 'dark'] as const) {
    const page = await chromium.open({ url, width: 1200, scheme })
    const weak = await page.evaluate<string[]>(`(() => {
      const parse = text => text.match(/[\\d.]+/g).map(Number)
      const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
      const backOf = element => {
        for (let at = element; at; at = at.parentElement) {
          const colour = parse(getComputedStyle(at).backgroundColor)
          if (colour.length === 3) return colour
        }
      }
      return [...document.body.querySelectorAll('*:not(script):not(svg *)')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
        .map(e => [e.textContent.slice(0, 40), [luminance(parse(getComputedStyle(e).color)), luminance(backOf(e))].sort((a, b) => b - a)])
        .filter(([, [light, dark]]) => (light + 0.05) / (dark + 0.05) < 4.5).map(([text]) => text)
    })()`)
    assert.deepEqual(weak, [], scheme)
  }
})

test('a screen reader gets headings, named pictures, tables with heads, and a list of what happened', async () => {
  const page = await chromium.open({ url: await writePage('roles', [fallbackStory]), width: 1200 })
  const nodes = await page.readAccessibility()
  const named = (role: string) => nodes.filter(node => node.role === role).map(({ name }) => name)
  assert.match(named('heading')[0] ?? '', /was pulled in 16s, .* although stage decompress/)
  assert.ok(named('image').length >= 6 && named('image').every(name => name !== ''), String(named('image')))
  assert.ok(named('columnheader').includes('Waited for output'))
  assert.ok(named('rowheader').includes('decompress (guilty)'))
  assert.deepEqual(named('region'), ['Stages', 'Layers'])
  assert.ok(named('list').length > 0 && named('main').length === 1)
})

test('all that can be unfolded or scrolled is reached with the keyboard', async () => {
  const page = await chromium.open({ url: await writePage('keys', [fallbackStory]), width: 360 })
  const reached = await page.evaluate<string[]>(
    `[...document.querySelectorAll('summary, [tabindex="0"]')].map(e => (e.focus(), document.activeElement === e ? e.tagName : 'lost'))`,
  )
  assert.deepEqual(reached, ['SUMMARY', 'SUMMARY', 'DIV', 'DIV'])
})

test("in a browser, strangers' strings stay text", async () => {
  const evil = '</script><img src="http://127.0.0.1:9/x" onerror="document.title=1"><script>document.title=1</script>'
  const events = fallbackStory.events.map(({ at, event }) => ({
    at,
    event: event.type === 'stall' ? { ...event, stage: `${event.stage}${evil}`, evidence: [evil] } : event,
  }))
  const page = await chromium.open({ url: await writePage('evil', [{ ...fallbackStory, events }]), width: 800 })
  assert.equal(page.requests.length, 1)
  assert.deepEqual(page.complaints, [])
  assert.match(await page.evaluate('document.title'), /windlass report$/)
  assert.equal(await page.evaluate('document.querySelectorAll("img, script:not([type])").length'), 0)
  assert.ok(await page.evaluate(`document.querySelector('ul.evidence').textContent.includes('onerror')`))
})

test('even markup that came through could neither run nor fetch nor dress itself', async () => {
  const url = await writePage('policy', [healthyStory])
  const path = join(directory, 'policy.html')
  const hostile =
    '<img src="http://127.0.0.1:9/x"><script>document.title = "ran"</script><style>h1 { color: red }</style>'
  await writeFile(path, (await readFile(path, 'utf8')).replace('<main>', `<main>${hostile}`))
  const page = await chromium.open({ url, width: 800 })
  assert.notEqual(await page.evaluate('document.title'), 'ran')
  assert.notEqual(await page.evaluate('getComputedStyle(document.querySelector("h1")).color'), 'rgb(255, 0, 0)')
  assert.equal(page.complaints.length, 3)
  assert.deepEqual(await page.evaluate('performance.getEntriesByType("resource").map(e => e.transferSize)'), [0])
})

test('on paper everything unfolded is black on white', async () => {
  const page = await chromium.open({
    url: await writePage('print', [diskStory]),
    width: 700,
    scheme: 'dark',
    media: 'print',
  })
  assert.equal(await page.evaluate('getComputedStyle(document.body).backgroundColor'), 'rgb(255, 255, 255)')
  assert.equal(await page.evaluate('getComputedStyle(document.body).color'), 'rgb(0, 0, 0)')
})

test('a real pull leaves a page that a browser shows, and the same as JSON', async () => {
  const root = await bed.makeDirectory('store-report')
  const windlass = openWindlass(root)
  const [html, json] = [join(directory, 'real.html'), join(directory, 'real.json')]
  await windlass.run('pull', '--report', html, bed.refer('debian'))
  const page = await chromium.open({ url: pathToFileURL(html).href, width: 1200 })
  assert.deepEqual(page.complaints, [])
  assert.match(
    await page.evaluate('document.querySelector("h1").textContent'),
    /was pulled in .*; nothing stood still\.$/,
  )
  await windlass.run('pull', '--report', json, bed.refer('debian'))
  const report = await readReport(json)
  assert.equal(report.command, `windlass pull --root ${root} ${bed.refer('debian')}`)
  assert.equal(report.pulls[0]?.outcome.status, 'done')
  assert.ok(report.pulls[0]?.layers.every(({ phases }) => phases.at(-1)?.phase === 'exists'))
  assert.equal(report.host.node, process.version)
  assert.doesNotMatch(JSON.stringify(report), /PATH|DOCKER_CONFIG/)
})

test('a decompressor that stops is found, told once, survived, and the report shows since when', async () => {
  const bin = await bed.makeDirectory('bin-stopped')
  await plantBroken(bin, 'stop-itself')
  const path = join(directory, 'stalled.html')
  const args = [
    '--root',
    await bed.makeDirectory('store-stalled'),
    'pull',
    '--decompressor',
    'unpigz',
    '--report',
    path,
  ]
  const env = { DOCKER_CONFIG: '/nonexistent', PATH: `${bin}:${process.env['PATH']}` }
  const { status, stderr } = await runCommand(windlassProgram, [...args, bed.refer('debian')], { env })
  assert.equal(status, 0, stderr)
  const told = stderr.split('\n').filter(line => line.startsWith('! '))
  const fallbacks = told.filter(line => /unpigz.*; decompressing in process from byte \d+$/.test(line))
  assert.ok(fallbacks.length > 0, stderr)
  assert.equal(new Set(told.map(line => line.slice(0, 60))).size, told.length, stderr)
  const page = await chromium.open({ url: pathToFileURL(path).href, width: 1200 })
  assert.deepEqual(page.complaints, [])
  // Who supervises the program may give it up before the samples show that it stood still.
  const headline = await page.evaluate<string>('document.querySelector("h1").textContent')
  assert.match(headline, /although (stage decompress of layer \w+ |\S+\/unpigz had to be given up)/)
  const spans = await page.evaluate<number>('document.querySelectorAll("svg rect.stalled").length')
  assert.equal(spans > 1, headline.includes('stage decompress'))
  const report = await page.evaluate<Report>('JSON.parse(document.getElementById("windlass-report").textContent)')
  assert.ok(report.pulls[0]?.happenings.some(({ type }) => type === 'fallback'))
})

test('a pull that is stopped while the registry is silent leaves its report', async () => {
  await using proxy = await startProxy(bed.registry.host, 4 << 20)
  const path = join(directory, 'stopped.json')
  const windlass = openWindlass(await bed.makeDirectory('store-stopped'))
  const { child, result } = windlass.start('pull', '--report', path, `${proxy.host}/debian:latest`)
  await waitUntil('some of the image is here', 60_000, () => proxy.blobBytes() > 4 << 20)
  proxy.freeze()
  child.kill('SIGINT')
  assert.equal((await result).status, 130)
  const [pull] = (await readReport(path)).pulls
  assert.ok(pull?.outcome.status === 'cancelled')
  assert.equal(pull.outcome.error.exitStatus, 130)
  assert.ok(pull.layers.some(({ progress }) => progress.bytesDownloaded > 0))
})

test('a pull that fails leaves its report, and no other file', async () => {
  const place = join(directory, 'failed')
  await mkdir(place)
  const windlass = openWindlass(await bed.makeDirectory('store-failed'))
  const { status } = await windlass.try('pull', '--report', join(place, 'x.html'), `${bed.registry.host}/none:latest`)
  assert.equal(status, 2)
  assert.deepEqual(await readdir(place), ['x.html'])
  assert.match(await readFile(join(place, 'x.html'), 'utf8'), /failed: NOT_FOUND, exit status 2/)
})

test('a report that cannot be written is refused before the registry is asked', async () => {
  await using proxy = await startProxy(bed.registry.host, Number.POSITIVE_INFINITY)
  const windlass = openWindlass(await bed.makeDirectory('store-refused'))
  for (const path of [join(directory, 'none/x.html'), join(directory, 'x.pdf'), directory]) {
    const { status, stderr } = await windlass.try('pull', '--report', path, `${proxy.host}/debian:latest`)
    assert.equal(status, 125, stderr)
  }
  assert.deepEqual(proxy.requests, [])
})

test('a disk that does not take the report does not hold the end of the run', async () => {
  await using filesystem = await openLoopFilesystem({ sizeBytes: 64 << 20 })
  const windlass = openWindlass(await bed.makeDirectory('store-frozen'))
  await run('fsfreeze', ['-f', filesystem.directory])
  try {
    const startedMs = performance.now()
    const path = join(filesystem.directory, 'x.html')
    const { status, stderr } = await windlass.try('pull', '--report', path, `${bed.registry.host}/none:latest`)
    assert.equal(status, 2)
    assert.match(stderr, /Cannot write the report to .*x\.html: the disk has not taken it within 5000 ms/)
    assert.ok(performance.now() - startedMs < 20_000)
  } finally {
    await run('fsfreeze', ['-u', filesystem.directory])
  }
})
