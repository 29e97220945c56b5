import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ContainerConfig, ImageConfig } from './image-config.ts'
import { type RuntimeOptions, runtimeConfig } from './runtime-spec.ts'
import { parseUserFiles } from './user.ts'

function image(config: ContainerConfig): ImageConfig {
  return { os: 'linux', architecture: 'amd64', config, rootfs: { type: 'layers', diff_ids: [] }, history: [] }
}

function processOf(config: ContainerConfig, options: Partial<RuntimeOptions> = {}) {
  return runtimeConfig(image(config), { rootPath: 'rootfs', ...options }).process
}

describe('runtimeConfig', () => {
  it('runs Entrypoint and Cmd; other arguments replace the Cmd alone', () => {
    const config = { Entrypoint: ['/init', '-v'], Cmd: ['serve'] }
    assert.deepEqual(processOf(config).args, ['/init', '-v', 'serve'])
    assert.deepEqual(processOf(config, { args: ['x', 'y'] }).args, ['/init', '-v', 'x', 'y'])
    assert.deepEqual(processOf(config, { args: [] }).args, ['/init', '-v'])
    assert.deepEqual(processOf({ Cmd: ['a'] }).args, ['a'])
    assert.deepEqual(processOf({}).args, ['sh'])
    assert.throws(() => processOf({ Cmd: ['a\0b'] }), { code: 'CORRUPT' })
  })

  it("keeps the image's environment and adds PATH and HOME where they are missing", () => {
    const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    assert.deepEqual(processOf({}).env, [path, 'HOME=/root'])
    assert.deepEqual(processOf({ Env: ['PATH=/x', 'HOME=', 'PATHS=1'] }).env, ['PATH=/x', 'HOME=', 'PATHS=1'])
    assert.deepEqual(processOf({ Env: ['A=b=c', 'NOVALUE', '=x', 'N=a\0b', ''] }).env, ['A=b=c', path, 'HOME=/root'])
  })

  it('works in an absolute directory, whatever the image says', () => {
    const directories = [undefined, '', '/srv', 'srv', '/a/../b/', '../..', '/a\0b']
    assert.deepEqual(
      directories.map(WorkingDir => processOf(WorkingDir === undefined ? {} : { WorkingDir }).cwd),
      ['/', '/', '/srv', '/srv', '/b', '/', '/ab'],
    )
  })

  it('gives capabilities to root alone, and none to inherit', () => {
    const { effective, bounding, inheritable, ambient } = processOf({ User: '0:5' }).capabilities
    assert.equal(effective.length, 14)
    assert.deepEqual([effective, inheritable, ambient], [bounding, [], []])
    assert.ok(!bounding.includes('CAP_SYS_ADMIN'))
    const other = processOf({ User: '5' }).capabilities
    assert.deepEqual([other.effective, other.permitted, other.bounding], [[], [], bounding])
  })

  it("runs as the image's user, whom its own files name", () => {
    const users = parseUserFiles({ passwd: 'app:x:7:8::/home/app:', group: 'g:x:9:app' })
    const { user, env } = processOf({ User: 'app' }, { users })
    assert.deepEqual(user, { uid: 7, gid: 8, additionalGids: [9] })
    assert.ok(env.includes('HOME=/home/app'))
    assert.throws(() => processOf({ User: 'app' }), { code: 'FAILED' })
  })

  it("gives an ordinary user's container a user namespace, and nothing that only root may have", () => {
    const own = { inner: 0, outer: 1000, count: 1 }
    const many = { inner: 1, outer: 100_000, count: 65_536 }
    const options = (ids: (typeof own)[]) => ({ rootPath: 'rootfs', idMaps: { uids: ids, gids: ids } })
    const users = parseUserFiles({ passwd: 'app:x:7:8::/home/app:', group: 'g:x:9:app' })
    const config = runtimeConfig(image({ User: 'app' }), { ...options([own, many]), users })
    const wanted = { containerID: 1, hostID: 100_000, size: 65_536 }
    assert.deepEqual(JSON.parse(JSON.stringify(config.linux)).uidMappings[1], wanted)
    assert.ok(config.linux.namespaces.some(({ type }) => type === 'user'))
    assert.ok(!('resources' in config.linux) && config.mounts.every(({ type }) => type !== 'cgroup'))
    assert.ok(JSON.stringify(config.mounts).includes('gid=5'))
    assert.deepEqual(config.process.user.additionalGids, [9])
    const single = runtimeConfig(image({ User: 'app' }), { ...options([own]), users })
    assert.ok(!JSON.stringify(single.mounts).includes('gid='))
    assert.deepEqual(single.process.user.additionalGids, [])
  })

  it('isolates the container and lets no label reach the runtime', () => {
    const config = runtimeConfig(image({ Labels: { 'run.oci.hooks.stdout': '/etc/passwd' } }), { rootPath: '/r' })
    assert.deepEqual(config.root, { path: '/r', readonly: false })
    assert.deepEqual(
      config.linux.namespaces.map(({ type }) => type),
      ['pid', 'network', 'ipc', 'uts', 'mount'],
    )
    assert.ok(!JSON.stringify(config).includes('run.oci'))
    assert.deepEqual(JSON.parse(JSON.stringify(config)), config)
  })
})
