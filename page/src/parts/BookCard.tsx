import { Alert, Avatar, Button, Card, IconRefresh, Rate, Skeleton } from "../arco";
import type { Product } from "../model/api";
import { inWords } from "../model/way";
import type { Asked } from "../request";
import { Cover } from "./Cover";

export function BookCard({ asked, again }: { asked: Asked; again: () => void }) {
  const { answer, problem, busy } = asked;
  return (
    <section id="book" tabIndex={-1} aria-labelledby="book-title">
      <Card
        className="card book"
        bordered={false}
        title={<h2 id="book-title">Book</h2>}
        extra={
          <Button
            type="text"
            icon={<IconRefresh className={busy ? "turning" : undefined} />}
            onClick={again}
          >
            Refresh
          </Button>
        }
      >
        {problem && (
          <div role="alert">
            <Alert className="problem" type="error" title={problem.message} content={problem.hint || undefined} />
          </div>
        )}
        <div className={problem ? "book-inner stale" : "book-inner"}>
          <Cover />
          <div className="book-text">
            {answer ? <Text product={answer.product} /> : <Waiting failed={problem !== null} />}
          </div>
        </div>
        <p className="stars" aria-live="polite" data-testid="stars">
          {answer && !problem ? (
            <>
              <span aria-hidden="true">
                <Rate readonly value={answer.product.Rating} />
              </span>
              <span className="stars-words">
                {answer.product.Rating} of 5 <span className="unseen">stars</span>
              </span>
              <span className="quiet">answered in {inWords(answer.milliseconds)}</span>
            </>
          ) : (
            <span className="quiet">{problem ? "No stars: the request failed" : "Asking…"}</span>
          )}
        </p>
      </Card>
    </section>
  );
}

function Text({ product }: { product: Product }) {
  return (
    <>
      <h3 className="book-name">{titleOf(product.Title)}</h3>
      <p className="author">
        <Avatar size={28} className="author-face" aria-hidden="true">
          {initials(product.Author)}
        </Avatar>
        {product.Author}
      </p>
      <p className="description">{product.Description}</p>
    </>
  );
}

function Waiting({ failed }: { failed: boolean }) {
  return failed ? <p className="quiet">No book came yet.</p> : <Skeleton animation text={{ rows: 5 }} />;
}

/** The original's title stands in 《》, which fonts without Chinese have no sign for. */
function titleOf(title: string): string {
  return title.replace(/^《(.*)》$/, "$1");
}

function initials(name: string): string {
  const words = name.split(/\s+/).filter(Boolean);
  return ((words[0]?.[0] ?? "") + (words.at(-1)?.[0] ?? "")).toUpperCase();
}
