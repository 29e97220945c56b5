/** What is taken by pulls that stand still, so that others wait behind them. */
import type { Entries } from './entry.ts'

export const queues = {
  DOWNLOAD_SLOTS_FULL: {
    severity: 'problem',
    en: {
      title: 'All places for downloads are taken by downloads that receive nothing',
      meaning:
        'max-concurrent-downloads counts for the whole daemon, and a silent download keeps its place for ever: every other pull shows Waiting, whatever its registry.',
      advice: [
        'End the clients of the silent downloads (Ctrl-C): their places are freed; what holds them up is told beside this.',
        'A larger max-concurrent-downloads in daemon.json, and a reload of the daemon (SIGHUP), lets others pass.',
      ],
    },
    zh: {
      title: '所有下载名额都被收不到数据的下载占用',
      meaning:
        'max-concurrent-downloads 是整个守护进程共用的，静默的下载会一直占着名额：其他拉取无论来自哪个仓库都显示 Waiting。',
      advice: [
        '结束那些静默下载的客户端（Ctrl-C）以释放名额；卡住它们的原因见同时给出的其他结论。',
        '在 daemon.json 中调大 max-concurrent-downloads 并重新加载守护进程（SIGHUP），可让其他拉取通过。',
      ],
    },
  },
  INGEST_LOCKED: {
    severity: 'warning',
    en: {
      title: 'containerd keeps a layer locked for a writer who writes nothing',
      meaning:
        'Whoever wants the same layer gets "ref … locked: unavailable", or waits. The writer was left behind by a client or a pull that is gone, and goes only with its connection, or with the daemon.',
      advice: [
        'End the client that holds it (ctr, nerdctl, a build), if there is one; ctr content active lists them with their age.',
        'Restart containerd when it suits: containers run on, and the lock is gone.',
      ],
    },
    zh: {
      title: 'containerd 为一个不再写入的写者锁住了某层',
      meaning:
        '需要同一层的拉取会得到 "ref … locked: unavailable" 或一直等待。该写者由已消失的客户端或拉取留下，只会随其连接或守护进程一起消失。',
      advice: [
        '若有持有它的客户端（ctr、nerdctl、构建），请结束它；ctr content active 会列出它们及其时长。',
        '在合适的时候重启 containerd：容器继续运行，锁随之消失。',
      ],
    },
  },
} as const satisfies Entries
