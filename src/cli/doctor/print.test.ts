import assert from 'node:assert/strict'
import { test } from 'node:test'
import { catalogue, type Language } from '../../doctor/catalogue.ts'
import { type Finding, makeFinding } from '../../doctor/finding.ts'
import type { Context } from '../command.ts'
import { textWidth } from '../progress/width.ts'
import { printFindings, wrapLine } from './print.ts'

const evidence = [
  'unpigz (process 61) has moved nothing for 4.0 s, although it has 65,536 bytes of input and has room for 65,536',
  'its 4 threads: 4 asleep in futex (futex_wait_queue)',
  'in 4.0 s it used 0.0 s of processor time in its own code and 0.0 s in the kernel',
  'unpigz has taken 131,072 bytes and given 294,912 since it was started',
]
const pids = [61, 62, 63, 64, 65, 66, 67]
/** A busy host: three engines, seven layers that are stuck in one way, and something of each other area. */
const findings = [
  ...[51, 52, 53].map(pid =>
    makeFinding('ENGINE_RUNS', `dockerd ${pid}`, { evidence: ['version 20.10.24, data in /srv/d'] }),
  ),
  ...pids.map(pid =>
    makeFinding('DECOMPRESSOR_DEADLOCKED', `dockerd 51 → unpigz ${pid} → untar 7${pid}`, { evidence }),
  ),
  makeFinding('TRANSFER_POISONED', 'dockerd 51', { severity: 'note', evidence: ['2 of its goroutines wait'] }),
  makeFinding('DECOMPRESSOR_UNPROVEN', 'dockerd 51 → /usr/bin/unpigz', {
    evidence: ['it runs /usr/bin/unpigz for gzip'],
  }),
  makeFinding('DISK_FINE', 'dockerd 51: /srv/d', { evidence: ['800 GiB of 900 GiB free'] }),
  makeFinding('NETWORK_UNTRIED', ''),
]

function screen(columns: number | undefined, language: Language = 'en', verbose = false, shown = findings): string[] {
  let text = ''
  const write = (chunk: string) => {
    text += chunk
    return true
  }
  const stdout = columns === undefined ? { write } : { write, isTTY: true, columns }
  const options = { language, verbose, skipped: [], took: { ms: 6200, heldUpMs: 100 } }
  printFindings({ stdout, quiet: false } as Pick<Context, 'stdout' | 'quiet'> as Context, shown, options)
  return text.trimEnd().split('\n')
}

for (const language of ['en', 'zh'] as const) {
  test(`on a screen of 80 columns and 24 lines the answer stands first, and nothing is cut: ${language}`, () => {
    const lines = screen(80, language)
    assert.match(lines.slice(0, 3).join(' '), /^✗ .*unpigz 61.*\[DECOMPRESSOR_DEADLOCKED\]/)
    const first = lines.slice(0, 24).join('\n')
    assert.match(first, /→ \S/)
    for (const pid of pids.slice(0, 5)) assert.ok(first.includes(`unpigz ${pid}`), first)
    assert.match(first, /, \+2$/m)
    assert.ok(lines.length <= 24, lines.join('\n'))
    for (const line of lines) assert.ok(textWidth(line) <= 80, line)
  })
}

test('where no terminal is, each thing is one line, for those who search', () => {
  const lines = screen(undefined)
  assert.ok(lines.includes(`    ${evidence[0]}`))
  assert.equal(lines.filter(line => line.startsWith('✓ engines')).length, 3)
})

test('with all of it each layer has its own evidence, and how long the visit took is told', () => {
  const lines = screen(undefined, 'en', true)
  assert.equal(lines.filter(line => line.includes('asleep in futex')).length, pids.length)
  assert.equal(lines.at(-1), '· it looked for 6.2 s, 0.1 s of which it waited for a processor itself')
})

test('a line is broken between words, wide ones anywhere, and goes on under its own beginning', () => {
  assert.deepEqual(wrapLine('    one two three', 11), ['    one two', '    three'])
  assert.deepEqual(wrapLine('解压程序停住。', 8), ['解压程序', '    停', '    住。'])
  assert.deepEqual(wrapLine(`x ${'y'.repeat(20)}`, 10), ['x', `    ${'y'.repeat(20)}`])
})

test('of another that is stuck in the same way its sign, its layer and who waits for it stand there, as far as they are known', () => {
  const layer = `sha256:ca50f8c33180${'7'.repeat(52)}`
  const stuck = (pid: number, facts: Finding['facts']) =>
    makeFinding('DECOMPRESSOR_DEADLOCKED', `dockerd ${pid} → unpigz 6${pid}`, { evidence, facts, confidence: 'likely' })
  const all = [
    stuck(1, {}),
    stuck(2, {
      layer,
      layerFile: '/var/lib/docker/tmp/GetImageBlob7',
      images: 'r.test/a',
      clients: 'r.test/a:1, r.test/b:2',
    }),
    stuck(3, { layerFile: '/var/lib/docker/tmp/GetImageBlob8', target: '/var/lib/docker/overlay2/x/diff' }),
    stuck(4, { target: '/var/lib/docker/overlay2/y/diff' }),
    stuck(5, {}),
    stuck(6, { layer }),
  ]
  const told = (language: Language) => screen(undefined, language, false, all).slice(6, 13)
  const { title } = catalogue.DECOMPRESSOR_DEADLOCKED.en
  const head = (pid: number) => `✗ pulls  dockerd ${pid} → unpigz 6${pid}: ${title} [DECOMPRESSOR_DEADLOCKED] (likely)`
  assert.deepEqual(told('en'), [
    head(2),
    '    layer ca50f8c33180 of r.test/a; clients that wait for a pull of this engine: r.test/a:1, r.test/b:2 (all of it: -v)',
    head(3),
    '    layer /var/lib/docker/tmp/GetImageBlob8 (all of it: -v)',
    head(4),
    '    it is unpacked into /var/lib/docker/overlay2/y/diff (all of it: -v)',
    '    [DECOMPRESSOR_DEADLOCKED] dockerd 5 → unpigz 65, +1',
  ])
  assert.equal(
    told('zh')[1],
    '    r.test/a 的层 ca50f8c33180；等待此引擎拉取的客户端：r.test/a:1, r.test/b:2（全部证据：-v）',
  )
})
