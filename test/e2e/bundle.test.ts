import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { run, runCommand } from '../testbed/command.ts'
import { openTestbed, type Testbed } from '../testbed/testbed.ts'

let bed: Testbed

before(async () => {
  bed = await openTestbed()
})
after(() => bed?.[Symbol.asyncDispose]())

/** crun refuses cgroup v1 with v2 mounted beside it: give both runtimes a view of v1 alone where the host has both. */
const withoutHybridCgroups = '! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; exec "$@"'

for (const runtime of ['runc', 'crun']) {
  test(`${runtime} starts the bundle, with the command and the environment of the image`, async () => {
    const bundle = await bed.makeDirectory(`bundle-${runtime}`)
    const state = await bed.makeDirectory(`state-${runtime}`)
    const name = `windlass-e2e-${process.pid}`
    await bed.windlass.run('pull', bed.refer('debian'))
    await bed.windlass.run('unpack', '--bundle', bed.refer('debian'), bundle)
    const command = [runtime, '--root', state, 'run', '--no-new-keyring', '--bundle', bundle, name]
    const result = await runCommand('unshare', ['--mount', 'sh', '-c', withoutHybridCgroups, 'sh', ...command])
    assert.equal(result.status, 0, result.stderr)
    assert.equal(result.stdout, 'hello from root on windlass\n')
    assert.doesNotMatch(await run(runtime, ['--root', state, 'list', '-q']), /./)
  })
}
