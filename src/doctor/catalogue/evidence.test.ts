import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { listLiterals } from '../../../test/evidence-literals.ts'
import { translateEvidence } from './evidence.ts'
import { evidenceZh } from './evidence-zh.ts'

const doctor = join(import.meta.dirname, '..')

/** Files whose sentences are no evidence: errors, rules, keys. */
const silent = new Set([
  'clients.ts',
  'collector.ts',
  'order.ts',
  'secrets.ts',
  'goroutines.ts',
  'diagnose.ts',
  'finding.ts',
  'cures',
])
/** Names of questions, tables for the kernel's words, parts that are told only within a sentence above, errors and a command. */
const noEvidence =
  /^(write pwrite64 |it has \{\} requests for pulls\{\};|\{\} for (it|layers)[:,] |in namespace \{\} that layer\{\}|it decompresses (the )?layer |reach padded|small |second |futex nanosleep|passes on$|knows no such name$|did not answer$|could not answer$| through the proxy |nsenter |windlass doctor |Cannot (reach|ask for an image|read the configuration)|sed -n |.*INFO: task |.* has no such image for |.* has indexes in indexes)/

function sourcesOf(directory: string): string[] {
  return readdirSync(directory)
    .filter(name => name.endsWith('.ts') && !name.endsWith('.test.ts') && !silent.has(name))
    .map(name => join(directory, name))
}

test('every sentence that may be evidence is told in Chinese, too', () => {
  const files = [...sourcesOf(doctor), ...sourcesOf(join(doctor, 'checks')), join(doctor, '../flow/evidence.ts')]
  const isSentence = (text: string) => /[a-z]{2,} [a-z]{2,}/.test(text) && !text.includes('\n')
  // A part of a sentence is told within it.
  const isTold = (text: string) => evidenceZh.some(([english]) => english.includes(text.replaceAll('{}{}', '{}')))
  const missing = files.flatMap(file =>
    listLiterals(readFileSync(file, 'utf8'))
      .filter(text => isSentence(text) && !noEvidence.test(text) && !isTold(text))
      .map(text => `${file.slice(doctor.length + 1)}: ${text}`),
  )
  assert.deepEqual(missing, [])
})

/** Hints, keys of requests, and what only a look at many pages says. */
const noRegistryEvidence =
  /^(; if the root CA$|the credentials were not sent|the stored credentials|either it does not exist|check HTTP_PROXY|a registry that wants|repair |run |credentials not found|correct or unset )/

test('what the client of registries says of a failure is told in Chinese, too', () => {
  const names = [
    'http',
    'body',
    'status',
    'token',
    'access',
    'proxy',
    'credential-helper',
    'docker-credentials',
    'trust',
  ]
  const isSentence = (text: string) => /[a-z]{2,} [a-z]{2,}/.test(text) && !text.includes('\n')
  const isTold = (text: string) =>
    evidenceZh.some(([english]) => english.includes(text)) ||
    !isSentence(
      translateEvidence(text.replace(/^(?!Cannot)(?:\{\}: )?/, 'Cannot reach X: ').replaceAll('{}', 'for 1 s')),
    )
  const missing = names.flatMap(name =>
    listLiterals(readFileSync(join(doctor, `../places/registry/${name}.ts`), 'utf8'))
      .filter(text => isSentence(text) && !noRegistryEvidence.test(text) && !isTold(text))
      .map(text => `${name}: ${text}`),
  )
  assert.deepEqual(missing, [])
})

test('of an error of a registry no English sentence is left', () => {
  const cases = [
    [
      'Cannot reach r.test:5000: no connection to r.test:5000: connect ECONNREFUSED 127.0.0.1:5000',
      '无法联系 r.test:5000：连不上 r.test:5000：连接被拒绝（ECONNREFUSED 127.0.0.1:5000）',
    ],
    [
      'Cannot reach r.test: no connection to r.test (through proxy p:3128) in time, for 5.0 s',
      '无法联系 r.test：未能及时连上 r.test（经代理 p:3128），5.0 秒内',
    ],
    [
      'Cannot reach r.test: r.test took the request and did not answer for 6.0 s',
      '无法联系 r.test：r.test 收下了请求，6.0 秒内没有应答',
    ],
    [
      'Cannot read manifest 1.2 of r.test/team/app: r.test answered 404 (manifest unknown)',
      '无法读取 r.test/team/app 的清单 1.2：r.test 答复 404（manifest unknown）',
    ],
    [
      'Cannot read blob sha256:ab of r.test/app: r.test went silent after 12 of 34 bytes, for 4.0 s',
      '无法读取 r.test/app 的 blob sha256:ab：r.test 在 34 字节中的 12 字节之后不再发送，4.0 秒内',
    ],
    [
      'Cannot get a token from auth.test: no TLS with auth.test: self-signed certificate',
      '无法从 auth.test 获得令牌：无法与 auth.test 建立 TLS：自签名证书',
    ],
    [
      'Cannot get credentials for r.test from docker-credential-pass: not found',
      '无法从 docker-credential-pass 获得 r.test 的凭据：未找到',
    ],
    [
      "Cannot use credentials of /root/.docker/config.json: not JSON; wanted what 'docker login' writes",
      "无法使用 /root/.docker/config.json 的凭据：不是 JSON；应为 'docker login' 所写的内容",
    ],
  ] as const
  for (const [english, chinese] of cases) assert.equal(translateEvidence(english), chinese)
})

test('each sentence stands once, and its gaps in the translation', () => {
  const english = evidenceZh.map(([text]) => text)
  assert.equal(new Set(english).size, english.length)
  for (const [text, chinese] of evidenceZh) {
    const gaps = text.split('{}').length - 1
    for (let at = 0; at < gaps; at++) assert.ok(chinese.includes(`{${at}}`), text)
    assert.ok(!chinese.includes(`{${gaps}}`), text)
    assert.match(chinese.replace(/\{\d\}/g, ''), /[\u4e00-\u9fff]|[（）：，]|^inode /, text)
  }
})

test('names and numbers come through, also where they look like sentences', () => {
  const cases = [
    [
      'unpigz (process 7) has moved nothing for 6.2 s, although it has 65,536 bytes of input and has room for 4,096',
      'unpigz（进程 7） 已有 6.2 s 没有任何进展，尽管它有 65,536 字节输入，且可再写 4,096 字节',
    ],
    [
      'its task is in state T (stopped by a signal), in do_signal_stop',
      '其任务处于状态 T（被信号停住），位于 do_signal_stop',
    ],
    ['its 4 threads: 3 asleep in futex, 1 running', '其 4 个线程：3 个睡眠于 futex，1 个运行中'],
    [
      '/var/lib/镜像 has 4 of 9 bytes; it grew while it was looked at',
      '/var/lib/镜像 有 4 字节（共 9）；查看期间有增长',
    ],
    ['what somebody else has said', 'what somebody else has said'],
    ['', ''],
  ] as const
  for (const [english, chinese] of cases) assert.equal(translateEvidence(english), chinese)
})

test('a long text of a stranger is not looked through for ever', () => {
  const start = performance.now()
  for (const text of ['a, in '.repeat(300), ' of '.repeat(450), 'x '.repeat(100_000)]) translateEvidence(text)
  assert.ok(performance.now() - start < 20_000)
})

test('of a file that no package owns no English word is left but names', () => {
  const told = ['dpkg', 'rpm', 'dpkg and rpm'].map(asked => translateEvidence(`${asked}: no package owns /opt/unpigz`))
  const of = (asked: string) => `${asked}：没有软件包拥有 /opt/unpigz`
  assert.deepEqual(told, [of('dpkg'), of('rpm'), of('dpkg 和 rpm')])
})
