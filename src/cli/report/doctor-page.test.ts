import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../../test/checked.ts'
import type { Diagnosis } from '../../doctor/diagnose.ts'
import { makeFinding } from '../../doctor/finding.ts'
import { type DoctorReport, makeDoctorReport, renderDoctorPage } from './doctor-page.ts'

const evil = `</script><img src=x onerror=alert(1)>"'\u202e`
const stuck = makeFinding('DECOMPRESSOR_SPINS', `dockerd 7 → unpigz${evil} 8`, {
  confidence: 'likely',
  evidence: [`it has moved nothing for 4.0 s ${evil}`],
  facts: { stage: 'decompress', enginePid: 7, decompressorPid: 8 },
})
const engine = makeEngine(7, {
  args: ['dockerd', `--x=${evil}`],
  program: `/usr/bin/${evil}`,
  dataRoot: '/var/lib/docker',
  dataPath: '/var/lib/docker',
  sockets: [`/run/${evil}`],
  environment: new Map([
    ['HTTPS_PROXY', `http://me:password@proxy/${evil}`],
    ['SECRET', 'password'],
  ]),
})
const about = {
  madeAt: '2026-01-01T00:00:00.000Z',
  command: 'windlass doctor',
  host: {
    windlass: '1',
    node: 'v26',
    operatingSystem: evil,
    kernel: '6',
    architecture: 'x64',
    cores: 2,
    memoryBytes: 1,
  },
}

function makeLines(): Diagnosis['lines'] {
  const looks = Array.from({ length: 5 }, (_, at) => ({
    sample: {
      timeMs: at * 250,
      stages: [
        {
          name: `unpigz${evil}`,
          kind: 'decompress' as const,
          bytesIn: 100 + at,
          bytesOut: 0,
          units: 0,
          waits: 'itself' as const,
        },
      ],
    },
    decompressor: [],
    untar: undefined,
    engine: undefined,
  }))
  const line = {
    key: `7@1 8@2 ${evil}`,
    engine,
    decompressor: [{ ...engine.process, pid: 8 }],
    program: 'unpigz',
    isFed: true,
    isUntarFed: true,
  }
  const pipes = { stdin: undefined, stdout: undefined, untar: undefined, untarStdin: undefined, target: undefined }
  return [{ line: { ...line, ...pipes }, looks } as unknown as Diagnosis['lines'][number]]
}

function render(findings: Diagnosis['findings'], language: 'en' | 'zh' = 'en'): string {
  const diagnosis = {
    engines: [engine],
    findings,
    worst: 'problem',
    skipped: [],
    lines: makeLines(),
    dumps: new Map(),
    took: { ms: 6000, heldUpMs: 0 },
  } as const
  return renderDoctorPage(makeDoctorReport(diagnosis, { ...about, language }))
}

test('the worst comes first, with its evidence, what to do, and the guilty stage marked', () => {
  const page = render([makeFinding('NO_PULL', ''), stuck])
  assert.match(page, /<h1>dockerd 7 → unpigz.*The decompressor spins/)
  assert.match(page, /it has moved nothing for 4\.0 s/)
  assert.match(page, /<figure class="guilty">/)
  assert.match(
    page,
    /<ul class="steps"><li>windlass doctor --rescue brings this pull[^<]*<\/li><li>Bring the image in without/,
  )
  assert.match(render([stuck], 'zh'), /<html lang="zh">[\s\S]*解压程序空转/)
  assert.match(render([]), /<header class="good">[\s\S]*<h1>Nothing is wrong\./)
})

test('whatever strangers write, the page runs nothing, and it holds no secret', () => {
  const page = render([stuck])
  const [visible = ''] = page.split('<script type=')
  assert.doesNotMatch(visible, /<img|\u202e/)
  assert.equal(page.split('</script>').length, 2)
  assert.doesNotMatch(page, /.{0,80}password.{0,10}/)
  const [, data = ''] = /<script type="application\/json" id="windlass-report">([^<]*)<\/script>/.exec(page) ?? []
  const report = JSON.parse(data) as DoctorReport
  assert.equal(report.findings[0]?.code, 'DECOMPRESSOR_SPINS')
  assert.equal(report.lines[0]?.looks.length, 5)
})
