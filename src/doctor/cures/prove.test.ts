import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeEngine } from '../../../test/checked.ts'
import { FixtureHost } from '../../../test/fixture-host.ts'
import { type Cure, planCures } from './cure.ts'
import { provesCure } from './prove.ts'

const variable = 'MOBY_DISABLE_PIGZ'
const question = 'systemctl show -p Environment -p EnvironmentFiles -p UnsetEnvironment docker.service'

/** What is said of a variable that was given to an engine, where systemd tells that. */
async function told(answer: string | undefined, { unit, file }: { unit?: string | undefined; file?: string } = {}) {
  const decompressors = [{ name: 'unpigz', path: '/usr/bin/unpigz', variable, value: undefined, use: 'used' as const }]
  const settings = unit === undefined ? { path: '/etc/default/docker', content: '' } : undefined
  const none = { isOfHost: true, shims: [], containers: 0, isLiveRestore: false, socket: undefined, images: [] }
  const cures = planCures(makeEngine(7, { decompressors }), 'dockerd', { unit, settings, ...none })
  const cure = cures.find(({ kind }) => kind === 'disable') as Cure
  assert.equal(cure.obstacle, undefined)
  const host = new FixtureHost({
    files: file === undefined ? {} : { '/etc/docker.env': file },
    ...(answer !== undefined && { tells: { [question]: answer } }),
  })
  const { isProven, text } = await provesCure(host, cure, new AbortController().signal)
  assert.equal(isProven, false)
  return text
}

test('a variable is unproven until the engine is restarted', async () => {
  const unit = 'docker.service'
  const good = `Environment=PATH=/usr/bin "A=b c" ${variable}=true\nUnsetEnvironment=\n`
  assert.match(await told(good, { unit }), /environment of docker\.service; unproven until dockerd is restarted/)
  assert.match(await told(undefined), /stands in \/etc\/default\/docker; unproven until/)
  assert.match(await told(undefined, { unit }), /systemctl does not tell/)
})

test('what counts more than the variable is named', async () => {
  const unit = 'docker.service'
  const good = `Environment=${variable}=true\n`
  for (const answer of [
    'Environment=\n',
    `Environment=${variable}=false\n`,
    `Environment=NO_${variable}=true\n`,
    `${good}UnsetEnvironment=${variable}\n`,
  ])
    assert.match(await told(answer, { unit }), /does not give MOBY_DISABLE_PIGZ=true/, answer)
  const files = `${good}EnvironmentFiles=/etc/docker.env (ignore_errors=yes)\n`
  const file = `${variable}="true"\n${variable}="0"\n`
  assert.match(await told(files, { unit, file }), /\/etc\/docker\.env sets MOBY_DISABLE_PIGZ to "0"/)
  for (const harmless of [`${variable}=1\n`, `# ${variable}=0\n`, ''])
    assert.match(await told(files, { unit, file: harmless }), /unproven until/)
})

/** A dockerd that was started after the one that is restarted. */
async function restarted(args: readonly string[], more: Parameters<typeof makeEngine>[1] = {}) {
  const stat = `200 (dockerd) S 1 200 200 0 -1 0 ${Array(10).fill(0).join(' ')} 9 0 5000 ${Array(30).fill(0).join(' ')}`
  const files = { '/proc/200/stat': stat, '/proc/200/cmdline': `dockerd\0${args.join('\0')}\0` }
  const engine = makeEngine(7, { dataRoot: '/var/lib/docker', ...more })
  const none = {
    isOfHost: true,
    shims: [],
    settings: undefined,
    containers: 0,
    isLiveRestore: false,
    socket: undefined,
    images: [],
  }
  const cures = planCures(engine, 'dockerd', { unit: undefined, ...none })
  const cure = cures.find(({ kind }) => kind === 'restart') as Cure
  return await provesCure(new FixtureHost({ files }), cure, new AbortController().signal)
}

test('a restart is proven by the same engine alone: another one that was started meanwhile is named', async () => {
  assert.deepEqual(await restarted([]), { isProven: true, text: 'dockerd runs anew as process 200' })
  const other = await restarted(['--data-root', '/srv/other'])
  assert.equal(other.isProven, false)
  assert.match(
    other.text,
    /not running yet; dockerd 200, .* keeps its data in \/srv\/other, not in \/var\/lib\/docker$/,
  )
  const deaf = await restarted([], { sockets: ['/run/docker.sock'] })
  assert.equal(deaf.isProven, false)
  assert.match(deaf.text, /dockerd 200, .* does not listen on \/run\/docker\.sock$/)
})
